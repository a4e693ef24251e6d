"""From dialogues to an adapter: one run, its steps, and what it learns from."""
