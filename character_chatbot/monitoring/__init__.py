"""A training seen while it runs: the bar, its files, its curve."""
