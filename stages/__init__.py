"""The steps of the path, one each; `row.py` lists what travels between them."""
