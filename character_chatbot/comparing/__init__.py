"""Two sources side by side: who can be had, one round, and the votes."""
