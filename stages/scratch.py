"""A database that lives as long as who uses it: what may be a million entries takes no memory."""

import sqlite3

_CACHE_KIB = 16 * 1024  # of it in memory; the rest is on disk


def scratch_database() -> sqlite3.Connection:
    """An empty one, in a file that nobody sees and that goes when it is closed."""
    # One thread at a time; it may be another one than that which made it.
    database = sqlite3.connect("", check_same_thread=False)
    database.execute("PRAGMA journal_mode = OFF")
    database.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    return database
