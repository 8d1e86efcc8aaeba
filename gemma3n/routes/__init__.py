"""Ways to hold a weight and multiply with it; `gemma3n/routing.py` chooses among them."""
