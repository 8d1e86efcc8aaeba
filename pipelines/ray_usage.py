"""Ray's usage statistics, which it would send to its makers."""

import os


def send_nothing() -> None:
    """Turn them off, unless the user has said otherwise; before ray is imported."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
