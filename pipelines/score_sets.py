"""Scored rows -> scores of every set and slice at every size, and what differs between sizes."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import cast

import numpy as np

from pipelines.intervals import Metric, Rows
from pipelines.score_files import Cell, Interval, Paired
from pipelines.scored import ALL, Scored
from pipelines.slices import slices_of

Metrics = Mapping[str, Metric]


def score_sets(rows: Sequence[Scored], metrics: Metrics, over: str) -> dict[str, dict[str, Cell]]:
    """Every set by itself, and all together where there are several.

    Args:
        rows: of all sizes.
        metrics: to score.
        over: the size that others are compared with.
    """
    groups: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.set].append(row)
    if len(groups) > 1:
        groups[ALL] = list(rows)
    return {name: cells(some, metrics, over) for name, some in groups.items()}


def score_slices(
    rows: Sequence[Scored], metrics: Metrics, over: str
) -> dict[str, dict[str, dict[str, Cell]]]:
    """Every slice of all rows, by what they are sliced by."""
    return {
        kind: {name: cells(some, metrics, over) for name, some in named.items()}
        for kind, named in slices_of(rows).items()
    }


def cells(rows: Sequence[Scored], metrics: Metrics, over: str) -> dict[str, Cell]:
    """The rows of each size as one set; an item is the same row at all sizes."""
    by_size: dict[str, dict[str, Scored]] = defaultdict(dict)
    for row in rows:
        by_size[row.size][row.item] = row
    others = by_size.get(over, {})
    return {size: _cell(some, others, metrics, size == over) for size, some in by_size.items()}


def _cell(
    rows: Mapping[str, Scored], others: Mapping[str, Scored], metrics: Metrics, is_over: bool
) -> Cell:
    mine = drawn(list(rows.values()), metrics)
    both = [item for item in rows if item in others]
    compared = {}
    if both:
        # The same rows in the same order, so that the same are drawn of both.
        same = mine if len(both) == len(rows) else drawn([rows[i] for i in both], metrics)
        other = same if is_over else drawn([others[i] for i in both], metrics)
        compared = {name: cast(Paired, asdict(same.difference(name, other))) for name in metrics}
    return {
        "rows": len(rows),
        "failed": sum(row.failed for row in rows.values()),
        "new_tokens": sum(row.new_tokens for row in rows.values()),
        "scores": {name: cast(Interval, asdict(mine.score(name))) for name in metrics},
        "difference": compared,
        "unpaired": len(rows) - len(both),
    }


def drawn(rows: Sequence[Scored], metrics: Metrics) -> Rows:
    """The rows as intervals are made of them."""
    parts = {name: [row.parts[name] for row in rows] for name in metrics}
    pooled = {
        name: np.array([row.counts[name] for row in rows], np.float64)
        for name in metrics
        if name in rows[0].counts
    }
    return Rows(metrics, parts, pooled)
