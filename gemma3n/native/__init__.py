"""Products of our own in C++, for what torch's libraries do slower; compiled when first needed."""
