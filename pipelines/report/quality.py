"""Rows beside their references -> how good a run is, as a whole, by set and by length."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from pipelines.intervals import Part, Rows, Score
from pipelines.scored import references_of
from pipelines.scores import METRICS, row_parts

_SPEECH = ("transcribe", "translate")
_EDGES_S = (2, 5, 10, 20, 30, 60, 300)  # seconds of sound
_EDGES_WORDS = (3, 6, 11, 21, 51, 101)  # of references without sound


@dataclass(frozen=True)
class Metric:
    """What stands for quality in a job."""

    key: str  # in `row_parts`
    name: str
    short: str
    lower_is_better: bool


WER = Metric("wer", "Word error rate", "WER", lower_is_better=True)
F1 = Metric("f1", "Token F1", "F1", lower_is_better=False)


def metric_of(job: str) -> Metric:
    """Word errors where words were said, shared words where pictures were told of."""
    return WER if job in _SPEECH else F1


def can_score() -> bool:
    """Whether what counts word errors is installed."""
    return find_spec("jiwer") is not None


@dataclass(frozen=True)
class Sliced:
    """The quality of some of the rows."""

    name: str
    rows: int
    score: Score


@dataclass
class Quality:
    """Every row with a reference, as it comes."""

    metric: Metric
    parts: dict[str, Part] = field(default_factory=dict)  # by item
    sets: dict[str, list[Part]] = field(default_factory=lambda: defaultdict(list))
    lengths: dict[tuple[bool, int], list[Part]] = field(default_factory=lambda: defaultdict(list))

    def add(self, item: dict[str, Any], audio_s: float) -> dict[str, Part]:
        """Count an item that has a reference; its parts in every score.

        Args:
            item: as `make_item` has it; one that failed said nothing.
            audio_s: seconds of its clips.
        """
        references = references_of(item["reference"], _extra(item))
        found = row_parts(references, item["text"] or "")
        part = found[self.metric.key]
        self.parts[item["item"]] = part
        if name := set_of(item):
            self.sets[name].append(part)
        words = len(item["reference"].split())
        edges, length = (_EDGES_S, audio_s) if audio_s else (_EDGES_WORDS, words)
        self.lengths[bool(audio_s), sum(length >= edge for edge in edges)].append(part)
        return found

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(self.parts)

    def overall(self) -> Score:
        """Of all rows."""
        return self._rows(self.parts.values()).score(self.metric.key)

    def over(self, other: "Quality") -> Score | None:
        """How much higher the score is than that of another run, paired; None of other rows."""
        if self.metric != other.metric or self.parts.keys() != other.parts.keys():
            return None
        theirs = self._rows(other.parts[item] for item in self.parts)
        return self._rows(self.parts.values()).difference(self.metric.key, theirs)

    def by_set(self) -> list[Sliced]:
        """Of each set that the manifest names."""
        return [self._sliced(name, some) for name, some in self.sets.items()]

    def by_length(self) -> list[Sliced]:
        """Of rows of about the same length, the shortest first."""
        return [
            self._sliced(_length(*key), some)
            for key, some in sorted(self.lengths.items(), key=lambda one: (not one[0][0], one[0]))
        ]

    def _sliced(self, name: str, parts: Sequence[Part]) -> Sliced:
        return Sliced(name, len(parts), self._rows(parts).score(self.metric.key))

    def _rows(self, parts: Iterable[Part]) -> Rows:
        key = self.metric.key
        return Rows({key: METRICS[key]}, {key: list(parts)}, {})


def set_of(item: dict[str, Any]) -> str:
    """The set that the manifest puts an item in, if it does."""
    return str(_extra(item).get("set") or "")


def _extra(item: dict[str, Any]) -> dict[str, Any]:
    """What else the manifest said; nothing where that cannot be read."""
    try:
        extra = json.loads(item["extra"] or "{}")
    except ValueError:
        return {}
    return extra if isinstance(extra, dict) else {}


def _length(is_sound: bool, number: int) -> str:
    if is_sound:
        return _between(_EDGES_S, number, 0, "s", 0)
    return _between(_EDGES_WORDS, number, 1, "words", 1)


def _between(edges: Sequence[int], number: int, least: int, unit: str, gap: int) -> str:
    low = edges[number - 1] if number else least
    if number == len(edges):
        return f"{low} {unit} or more"
    return f"{low}\u2013{edges[number] - gap} {unit}"
