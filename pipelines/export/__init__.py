"""A checkpoint -> files that another runtime loads; a module per runtime and what it needs."""
