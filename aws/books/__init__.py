"""What runs, what it costs, and what is left over."""
