"""`sweep.json`: what a sweep is made of, and what became of each of its runs.

Written anew, whole, whenever a run ends, so that it is right whenever the sweep is stopped.
`report` reads it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.exit_code import BUG, DONE, INTERRUPTED, ROWS_FAILED, WRONG_USE
from stages.write import replacing

SWEEP = "sweep.json"
DIFFERS, FOLDER, CODE = "differs", "folder", "code"


@dataclass
class Entry:
    """One run."""

    name: str  # of its folder
    folder: str  # within that of the sweep
    differs: dict[str, str]  # from the other runs, by setting as it was typed
    overrides: list[str]  # all that was asked for
    code: int | None = None  # exit code; null before its end
    seconds: float = 0.0  # of all the times that it ran until it ended by itself
    error: str | None = None  # why it did not finish
    # A table row a nested size: `numbers.py` says what is in it.
    results: list[dict[str, Any]] = field(default_factory=list)
    done: dict[str, dict[str, float]] = field(default_factory=dict)  # items, seconds, by size
    counted: dict[str, int] = field(default_factory=dict)  # summaries in it, by their time
    fingerprint: str | None = None  # of the source and settings that it finished with


@dataclass
class Index:
    """All of a sweep."""

    job: str
    command: str
    axes: dict[str, list[str]]  # settings that differ, each with its values
    runs: list[Entry]

    def write(self, folder: Path) -> None:
        """Keep it in the sweep's folder."""
        with replacing(folder / SWEEP) as file:
            file.write((json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n").encode())


def earlier_runs(folder: Path) -> dict[str, Entry]:
    """What an earlier sweep in the folder did, by the name of the run.

    Raises:
        SettingsError: there is an index that is not ours.
    """
    path = folder / SWEEP
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        return {one["name"]: _entry(one) for one in raw["runs"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            f"'{path}' is not the index of a sweep. Choose another folder, or take the file away: "
            "what runs finished in their folders is not done again."
        ) from error


def _entry(raw: Mapping[str, Any]) -> Entry:
    known = [f.name for f in fields(Entry)]
    return Entry(**{name: raw[name] for name in known if name in raw})


def worst(codes: Sequence[int]) -> int:
    """The code of a sweep: that of its worst run; one that was interrupted is not at its end."""
    order = [DONE, ROWS_FAILED, WRONG_USE, BUG, INTERRUPTED]
    ours = (code if code in order else BUG for code in codes)  # below 0 is a signal
    return max(ours, key=order.index, default=DONE)
