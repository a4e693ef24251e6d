"""A reply from the turns before it to its last word: prompt, stream, role."""
