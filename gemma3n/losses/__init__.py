"""What a training step can sum: one small loss a file, each with the head it needs, if any."""
