"""One thing that `doctor` looked at."""

from dataclasses import dataclass
from enum import Enum


class State(Enum):
    """How it is."""

    ok = "ok"
    note = "note"  # works without; good to know
    broken = "broken"  # jobs need it


@dataclass(frozen=True)
class Finding:
    """What was looked at, what was found, and what to do about it."""

    group: str  # machine, disk, packages, ...
    what: str
    found: str
    state: State = State.ok
    fix: str = ""  # one line, where something is to be done


def ok(group: str, what: str, found: str) -> Finding:
    """All well."""
    return Finding(group, what, found)


def note(group: str, what: str, found: str, fix: str = "") -> Finding:
    """Something that some jobs want."""
    return Finding(group, what, found, State.note, fix)


def broken(group: str, what: str, found: str, fix: str) -> Finding:
    """Something without which jobs do not run, or run wrongly."""
    return Finding(group, what, found, State.broken, fix)
