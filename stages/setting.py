"""One setting: its default and the line that `--help` shows for it."""

from dataclasses import field
from typing import Any


def setting(default: Any, doc: str) -> Any:
    """A dataclass field with its explanation; a mutable default is copied for every instance.

    Args:
        default: value if nobody sets it; `omegaconf.MISSING` if somebody must.
        doc: one line, with the unit where there is one.
    """
    if isinstance(default, list | dict):
        kept = default
        return field(default_factory=lambda: type(kept)(kept), metadata={"doc": doc})
    return field(default=default, metadata={"doc": doc})
