"""One setting: its default and the line that `--help` shows for it."""

from dataclasses import field
from typing import Any


def setting(default: Any, doc: str) -> Any:
    """A dataclass field with its explanation; a mutable default is copied for every instance.

    Args:
        default: value if nobody sets it; `omegaconf.MISSING` if somebody must.
        doc: one line, with the unit where there is one.
    """
    return _field(default, {"doc": doc})


def fixed(default: Any) -> Any:
    """A dataclass field that the YAML of a job sets and nobody else: no key of a command line."""
    return _field(default, {"fixed": True})


def _field(default: Any, metadata: dict[str, Any]) -> Any:
    if isinstance(default, list | dict):
        kept = default
        return field(default_factory=lambda: type(kept)(kept), metadata=metadata)
    return field(default=default, metadata=metadata)
