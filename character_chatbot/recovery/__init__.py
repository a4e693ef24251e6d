"""No work is lost: signals, checkpoints, copies of them, and memory that runs out."""
