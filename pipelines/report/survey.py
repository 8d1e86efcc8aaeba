"""The committed rows of a run -> what there is to say of them, in one pass."""

import heapq
import random
import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.committed import Committed, UnreadablePartError, part_files, read_part
from pipelines.intervals import Part
from pipelines.items import make_item
from pipelines.report.quality import Quality, can_score, metric_of, set_of

_EXAMPLES = 3  # items named for each kind of error
_KINDS = 200  # of errors that are told apart
# What differs between two messages of the same kind: names in quotes, and numbers.
_VARIES = re.compile(r"'[^']*'|\"[^\"]*\"|\d+(?:[.,]\d+)*")


@dataclass
class Shown:
    """A row that the report shows: an item with its reference, or else one segment."""

    item: str
    segment: int
    start_s: float | None
    end_s: float | None
    text: str
    reference: str | None
    logprob: float | None
    size: str
    note: str
    set: str
    errors: Part | None  # of its metric


@dataclass
class Failure:
    """Rows that failed in the same way."""

    stage: str
    message: str  # of the first
    items: list[str] = field(default_factory=list)
    count: int = 0


class Pick:
    """The worst rows and some at random, of any number, each row once."""

    def __init__(self, worst: int, some: int, seed: int) -> None:
        self._worst, self._some = worst, some
        self._draw = random.Random(seed)
        self._heap: list[tuple[tuple[float, ...], int, Shown]] = []
        self._drawn: list[tuple[int, Shown]] = []
        self._seen = 0

    def offer(self, row: Shown, badness: tuple[float, ...] | None) -> None:
        """See one more; one whose `badness` nobody knows is not among the worst."""
        number, self._seen = self._seen, self._seen + 1
        if badness is not None and self._worst:
            heapq.heappush(self._heap, (badness, -number, row))
            if len(self._heap) > self._worst:
                heapq.heappop(self._heap)
        # As many again as there are worst ones, which may be among them.
        most = self._some + self._worst
        if len(self._drawn) < most:
            self._drawn.append((number, row))
        elif most and (place := self._draw.randrange(self._seen)) < most:
            self._drawn[place] = (number, row)

    def worst(self) -> list[Shown]:
        """The worst first."""
        return [row for _, _, row in sorted(self._heap, key=lambda one: (one[0], one[1]))[::-1]]

    def drawn(self) -> list[Shown]:
        """Those at random, in the order of the source."""
        taken = {-number for _, number, _ in self._heap}
        left = [one for one in self._drawn if one[0] not in taken]
        some = self._draw.sample(left, min(self._some, len(left)))
        return [row for _, row in sorted(some, key=lambda one: one[0])]


@dataclass
class Survey:
    """What the rows of a run come to."""

    items: int = 0
    incomplete: int = 0  # items whose last segments are not there
    rows: int = 0
    failed: int = 0
    audio_s: float = 0.0
    images: int = 0
    new_tokens: int = 0
    failures: dict[tuple[str, str], Failure] = field(default_factory=dict)
    quality: Quality | None = None  # of the rows with a reference, if there are any
    unscored: int = 0  # rows with a reference that could not be scored: jiwer is not installed
    worst: list[Shown] = field(default_factory=list)
    random: list[Shown] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)  # what is wrong with which part


def survey(folder: Path, job: str, worst: int, some: int, seed: int) -> Survey:
    """Go through the rows once.

    Args:
        folder: of the run.
        job: that it was of, which says what counts as good.
        worst: rows to pick, the worst.
        some: rows to pick at random.
        seed: which.
    """
    found = Survey()
    scored, plain = Pick(worst, some, seed), Pick(worst, some, seed)
    quality, is_able = Quality(metric_of(job)), can_score()
    with closing(Committed(_readable(folder, found.unreadable))) as committed:
        found.incomplete = sum(not listed.complete for listed in committed.listed())
        for rows in committed.items():
            _count(found, rows)
            item = make_item(rows)
            if item["reference"] is not None and is_able:
                audio_s = sum(row["audio_s"] or 0.0 for row in rows)
                parts = quality.add(item, audio_s)
                if item["text"] is not None:
                    badness = _badness(parts, quality)
                    scored.offer(_item(item, parts[quality.metric.key]), badness)
                continue
            found.unscored += item["reference"] is not None
            for row in rows:
                if row["error_stage"] is None:
                    logprob = row["logprob"]
                    plain.offer(_segment(row), None if logprob is None else (-logprob,))
    if quality.rows:
        found.quality = quality
    pick = scored if quality.rows else plain
    found.worst, found.random = pick.worst(), pick.drawn()
    return found


def _readable(folder: Path, unreadable: list[str]) -> list[Path]:
    good = []
    for part in part_files(folder):
        try:
            for _ in read_part(part):
                pass
        except UnreadablePartError as error:
            unreadable.append(str(error))
        else:
            good.append(part)
    return good


def _count(found: Survey, rows: Sequence[dict[str, Any]]) -> None:
    found.items += 1
    found.rows += len(rows)
    for row in rows:
        found.audio_s += row["audio_s"] or 0.0
        found.images += row["image_count"] or 0
        found.new_tokens += row["new_tokens"] or 0
        if (stage := row["error_stage"]) is None:
            continue
        found.failed += 1
        message = row["error_message"] or ""
        kind = (stage, _VARIES.sub("*", message)[:500])
        if kind not in found.failures and len(found.failures) >= _KINDS:
            kind, message = ("others", ""), "errors of other kinds; failures.jsonl has them all"
        one = found.failures.setdefault(kind, Failure(kind[0], message))
        one.count += 1
        if len(one.items) < _EXAMPLES:
            one.items.append(row["item"])


def _badness(parts: dict[str, Part], quality: Quality) -> tuple[float, ...] | None:
    """As `evaluate` sorts: by errors in words, then in characters; else by words not shared.

    A row that is right is none of the worst.
    """
    part = parts[quality.metric.key]
    first = part.of if quality.metric.lower_is_better else 1 - part.of
    return (first, parts["cer"].of) if first else None


def _item(item: dict[str, Any], errors: Part) -> Shown:
    segments = item["segments"]
    known = [one["logprob"] for one in segments if one["logprob"] is not None]
    return Shown(
        item=item["item"],
        segment=0,
        start_s=segments[0]["start_s"] if segments else None,
        end_s=segments[-1]["end_s"] if segments else None,
        text=item["text"] or "",
        reference=item["reference"],
        logprob=sum(known) / len(known) if known else None,
        size=item["size"] or "",
        note=item["note"] or "",
        set=set_of(item),
        errors=errors,
    )


def _segment(row: dict[str, Any]) -> Shown:
    return Shown(
        item=row["item"],
        segment=row["segment"],
        start_s=row["start_s"],
        end_s=row["end_s"],
        text=row["text"] or "",
        reference=row["reference"],
        logprob=row["logprob"],
        size=row["size"] or "",
        note=row["note"] or "",
        set=set_of(row),
        errors=None,
    )
