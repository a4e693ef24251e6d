"""Engines: what turns messages into a reply. One small contract, several implementations."""
