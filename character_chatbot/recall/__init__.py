"""Recall: which scenes of the series a character remembers at a message, and what of all that fits into the prompt."""
