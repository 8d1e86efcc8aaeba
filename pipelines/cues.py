"""Segments of an item -> cues: what a subtitle shows at once, and when.

Only the borders of segments are known. Within a segment the times of cues are shares of it by
width of text, as if it were spoken evenly: the time of a word in the middle is an estimate.
"""

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from pipelines.scripts import columns, is_spaceless, pieces

# What subtitlers agree on, within a little.
LINE = 42  # columns: 42 Latin letters, 21 Chinese characters
LONGEST_MS, SHORTEST_MS = 7000, 1000

# A segment is cut into the cues that cost least together. One cue costs 1; the rest is taste.
_CUT_AFTER = {"sentence": 0.0, "clause": 0.6, "word": 2.0, "character": 2.5, "piece": 4.0}
# For what ends before its cue does. More than a cue costs: sentences part, unless too short.
_WITHIN = {"sentence": 1.5, "clause": 1.2, "word": 0.0, "character": 0.0, "piece": 0.0}
_TOO_SHORT = 5.0  # for each second that it lacks
_TOO_LONG = 15.0  # for each 7 s that it has more than 7 s
_NARROW, _NARROW_MAX = 1.0, 20  # for the share that it lacks of so many columns
_FULL = 0.8  # if both lines are full; by squares, so that cues of a sentence are about equal
# Two lines should be as wide; these are columns out of balance.
_LINE_AFTER = {"sentence": 0, "clause": 4, "word": 10, "character": 14, "piece": 20}

_CLOSING = "\"')]}»”’›」』）】〉》〕"  # noqa: RUF001
_SENTENCE = re.compile(rf"[.!?…‽。！？｡．؟۔।॥።։]+[{re.escape(_CLOSING)}]*$")  # noqa: RUF001
_CLAUSE = re.compile(rf"([,;:،؛､、，；：]+[{re.escape(_CLOSING)}]*|[–—―])$")  # noqa: RUF001
_TITLE = re.compile(r"(?i)(mr|mrs|ms|dr|prof|st|sr|jr|\W*[^\W\d_])\.$")  # or a single letter: J. S.


@dataclass(frozen=True)
class Cue:
    """One or two lines and when they are shown, in ms from the beginning of the recording."""

    start_ms: int
    end_ms: int
    lines: tuple[str, ...]


@dataclass(frozen=True)
class _Unit:
    """What stays together on a line: mostly a word."""

    text: str
    space: bool  # whether one comes after it
    ends: str  # what ends after it: a key of `_CUT_AFTER`


def cues(segments: Sequence[dict[str, Any]]) -> list[Cue]:
    """Lay out what was said for reading along.

    A cue has at most 2 lines of 42 columns and lasts at most 7 s, and about 1 s or more where its
    segment does. It ends with a sentence if it can, else with a clause, else with a word. It shows
    as many characters a second as its segment has: nothing is shown before or after its segment.

    Args:
        segments: in order, each with `start_s`, `end_s` (or None: it gives no cue) and `text`.

    Returns:
        One after the other, none overlaps the next. A segment without text has none.
    """
    timed = filter(is_timed, segments)
    said = [(segment, units) for segment in timed if (units := _units(segment["text"]))]
    borders = _borders([segment for segment, _ in said])
    found: list[Cue] = []
    for (start, end), (_, units) in zip(borders, said, strict=True):
        for cue in _segment_cues(units, start, end):
            # A segment may be shorter than a ms, and then takes what it needs of the next.
            first = max(cue.start_ms, found[-1].end_ms) if found else cue.start_ms
            found.append(Cue(first, max(cue.end_ms, first + 1), cue.lines))
    return found


def is_timed(segment: dict[str, Any]) -> bool:
    """Whether a segment says when it is."""
    return segment["start_s"] is not None and segment["end_s"] is not None


def _borders(segments: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    """Start and end of each in ms; those that overlap share the overlap."""
    starts = [max(0, round(segment["start_s"] * 1000)) for segment in segments]
    ends = [round(segment["end_s"] * 1000) for segment in segments]
    for i in range(len(segments) - 1):
        if starts[i + 1] < ends[i]:
            ends[i] = starts[i + 1] = (starts[i + 1] + ends[i]) // 2
    return [(start, max(start, end)) for start, end in zip(starts, ends, strict=True)]


def _segment_cues(units: list[_Unit], start: int, end: int) -> list[Cue]:
    # Where each unit begins, in columns, and where the last one ends.
    at = list(accumulate((columns(u.text) + u.space for u in units), initial=0))
    found = []
    for first, after in _cut(units, at, (end - start) / at[-1]):
        shown = start + (end - start) * at[first] // at[-1]
        gone = start + (end - start) * at[after] // at[-1]
        found.append(Cue(shown, min(gone, shown + LONGEST_MS), _lines(units, at, first, after)))
    return found


def _units(text: str) -> list[_Unit]:
    # White space of any kind is a space; control characters mean nothing on a screen.
    words = "".join(c for c in text if c.isspace() or unicodedata.category(c) != "Cc").split()
    units = []
    for number, word in enumerate(words, 1):
        parts = pieces(word, LINE)
        for part, after in pairwise(parts):
            tight = is_spaceless(part[-1]) or is_spaceless(after[0])
            units.append(_Unit(part, False, _ends(part, "character" if tight else "piece")))
        following = words[number] if number < len(words) else ""
        ends = _ends(parts[-1], "word")
        if ends == "sentence" and (_TITLE.match(parts[-1]) or following[:1].islower()):
            ends = "word"
        units.append(_Unit(parts[-1], number < len(words), ends))
    return units


def _ends(text: str, otherwise: str) -> str:
    if _SENTENCE.search(text):
        return "sentence"
    return "clause" if _CLAUSE.search(text) else otherwise


def _width(units: list[_Unit], at: list[int], first: int, after: int) -> int:
    return at[after] - at[first] - units[after - 1].space


def _cut(units: list[_Unit], at: list[int], column_ms: float) -> list[tuple[int, int]]:
    """The cheapest way to cut units into cues: first unit of each, and the one after its last."""
    count = len(units)
    reach = []  # after which unit a line that begins with each must end
    after = 0
    for first in range(count):
        after = max(after, first + 1)
        while after < count and _width(units, at, first, after + 1) <= LINE:
            after += 1
        reach.append(after)
    reach.append(count)
    endings = list(accumulate((_WITHIN[unit.ends] for unit in units), initial=0.0))

    best = [0.0] + [math.inf] * count  # cost of all before
    came = [0] * (count + 1)
    for first in range(count):
        for after in range(first + 1, reach[reach[first]] + 1):
            cost = best[first] + _cost(
                width=_width(units, at, first, after),
                ms=(at[after] - at[first]) * column_ms,
                within=endings[after - 1] - endings[first],
                ends="sentence" if after == count else units[after - 1].ends,
            )
            if cost < best[after]:
                best[after], came[after] = cost, first
    cuts = [count]
    while cuts[-1]:
        cuts.append(came[cuts[-1]])
    cuts.reverse()
    return list(pairwise(cuts))


def _cost(width: int, ms: float, within: float, ends: str) -> float:
    """Of one cue; `within` is that of the ends in it before its own."""
    return (
        1
        + _CUT_AFTER[ends]
        + within
        + _TOO_SHORT * max(0.0, 1 - ms / SHORTEST_MS)
        + _TOO_LONG * max(0.0, ms / LONGEST_MS - 1)
        + _NARROW * max(0.0, 1 - width / _NARROW_MAX)
        + _FULL * (width / (2 * LINE)) ** 2
    )


def _lines(units: list[_Unit], at: list[int], first: int, after: int) -> tuple[str, ...]:
    """One line if it fits, else two, about equal."""
    if _width(units, at, first, after) <= LINE:
        return (_text(units[first:after]),)

    def badness(end: int) -> tuple[int, int]:
        upper, lower = _width(units, at, first, end), _width(units, at, end, after)
        too_wide = max(upper, lower) > LINE
        return too_wide, abs(upper - lower) + _LINE_AFTER[units[end - 1].ends]

    end = min(range(first + 1, after), key=badness)
    return _text(units[first:end]), _text(units[end:after])


def _text(units: list[_Unit]) -> str:
    return "".join(u.text + " " * u.space for u in units).rstrip()
