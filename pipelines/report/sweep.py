"""The index of a sweep -> its runs that did not finish, which leave little else to tell of."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.exit_code import DONE, ROWS_FAILED
from pipelines.report.wording import cut

INDEX = "sweep.json"


@dataclass(frozen=True)
class Unfinished:
    """A run of a sweep."""

    name: str
    why: str


def unfinished_runs(paths: Sequence[str]) -> list[Unfinished]:
    """Those of all folders that are sweeps; an index that cannot be read tells of none."""
    found = []
    for path in paths:
        try:
            runs = json.loads((Path(path) / INDEX).read_text(encoding="utf-8"))["runs"]
            for run in runs:
                if (code := run.get("code")) in (DONE, ROWS_FAILED):
                    continue
                why = run.get("error") or ("not done yet" if code is None else f"exit code {code}")
                found.append(Unfinished(cut(str(run.get("name")), 160), cut(str(why), 600)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return found
