"""One instance: asked for, reached, given its work, ended."""
