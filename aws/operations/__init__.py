"""A training or a page from the plan to its end."""
