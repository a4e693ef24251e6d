"""The characters for other programs: an OpenAI-compatible endpoint, keys, limits, health and metrics."""
