"""Results of a run against their references: rows, then scores of every set at every size."""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipelines.assemble import TABLE
from pipelines.run import SUMMARY
from pipelines.scores import Part, difference, row_parts, score

ALL = "all rows"
_NO_SET = "(no set)"


@dataclass(frozen=True)
class Scored:
    """One row at one nested size."""

    item: str
    set: str
    size: str
    reference: str
    text: str  # nothing, if the row failed
    failed: bool
    parts: Mapping[str, Part]


def scored_rows(run: Path, size: str) -> Iterator[Scored]:
    """The labelled rows of a run folder; a failed one said nothing."""
    for row in pq.read_table(run / f"{TABLE}.parquet").to_pylist():
        if row["reference"] is None:
            continue
        text = row["text"] or ""
        yield Scored(
            item=row["item"],
            set=str(json.loads(row["extra"] or "{}").get("set") or _NO_SET),
            size=size,
            reference=row["reference"],
            text=text,
            failed=row["error"] is not None,
            parts=row_parts(row["reference"], text),
        )


def unlabelled(run: Path) -> dict[str, int]:
    """How many rows of a run have no reference, and how many of those failed."""
    rows = pq.read_table(run / f"{TABLE}.parquet", columns=["reference", "error"]).to_pylist()
    errors = [row["error"] for row in rows if row["reference"] is None]
    return {"rows": len(errors), "failed": sum(error is not None for error in errors)}


def worst_first(rows: Sequence[Scored]) -> list[Scored]:
    """By errors in words, then in characters."""

    def badness(row: Scored) -> tuple[float, float]:
        return -row.parts["wer"].of, -row.parts["cer"].of

    return sorted(rows, key=badness)


def scores_of(rows: Sequence[Scored], folder: Path) -> dict[str, Any]:
    """What `scores.json` holds.

    Args:
        rows: of all sizes; the first row's size is the one that others are compared with.
        folder: of the evaluation, with a run folder for each size.

    Returns:
        `over`: that size; `sets`: set -> size -> rows, failed ones, each score with its interval,
        and its difference to that size; `runs`: size -> seconds, and rows left out as unlabelled.
    """
    over = rows[0].size
    groups: dict[str, dict[str, list[Scored]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.set][row.size].append(row)
    if len(groups) > 1:
        for row in rows:
            groups[ALL][row.size].append(row)
    return {
        "over": over,
        "sets": {
            name: {size: _scores(some, by_size[over]) for size, some in by_size.items()}
            for name, by_size in groups.items()
        },
        "runs": {size: _run(folder / size) for size in dict.fromkeys(row.size for row in rows)},
    }


def _scores(rows: list[Scored], over: list[Scored]) -> dict[str, Any]:
    parts = {metric: [row.parts[metric] for row in rows] for metric in rows[0].parts}
    others = {metric: [row.parts[metric] for row in over] for metric in parts}
    return {
        "rows": len(rows),
        "failed": sum(row.failed for row in rows),
        "scores": {metric: asdict(score(some)) for metric, some in parts.items()},
        "difference": {m: asdict(difference(some, others[m])) for m, some in parts.items()},
    }


def _run(folder: Path) -> dict[str, Any]:
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    return {"seconds": summary["seconds"], "unlabelled": unlabelled(folder)}
