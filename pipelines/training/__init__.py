"""One training loop: examples -> batches -> summed losses -> a checkpoint that resumes."""
