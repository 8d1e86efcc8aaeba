"""Nested settings -> one level, by dotted key."""

from collections.abc import Mapping
from typing import Any


def flat(settings: Mapping[str, Any], group: str = "") -> dict[str, Any]:
    """Settings by dotted key, `{"decode": {"top_k": 0}}` as `{"decode.top_k": 0}`."""
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= (
            flat(value, f"{group}{name}.") if isinstance(value, dict) else {group + name: value}
        )
    return found
