"""Who runs the path, and where."""
