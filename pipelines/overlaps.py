"""Segments that tell the same seconds -> segments of which each word is in one.

Where a speaker makes no pause, `read` cuts anyway and lets both segments hear what is around the
cut. A word at the very edge of a segment may be half a word: inside of what both say is where
one can go over into the other.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from pipelines.scripts import is_spaceless

_SHARED_S = 0.01  # seconds; less is rounding
_SLACK = 2.0  # people speak unevenly: so many times the words that the shared seconds would hold
_MORE_WORDS = 3  # and so many more
_LETTERS = 5  # a single word with less may be in both by chance
_LEFT_OUT = 2  # misheard words at the edges that a word in common makes up for, and as many more


class _Word(NamedTuple):
    """A word, the punctuation after it too, or a character where words have no spaces."""

    start: int  # place in the text
    end: int
    letters: str  # what is compared: no case, no punctuation


class _Run(NamedTuple):
    """Words that two texts have in common."""

    first: int  # place in the words of the earlier text
    second: int  # place in those of the later
    length: int  # in words
    letters: int  # in them


def parted(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Segments without the words and seconds that their neighbours have too.

    Args:
        rows: good segments of one item, in order, with `segment`, `start_s`, `end_s` and `text`.

    Returns:
        The rows; of two that overlap, copies: both go up to the middle of what they share, and
        the words that both have are in one. If they agree on none, all words are kept.
    """
    done = [row.copy() for row in rows]
    for before, after in pairwise(done):
        shared_s = _shared_s(before, after)
        if shared_s <= _SHARED_S:
            continue
        before["text"], after["text"] = _parted(
            before["text"] or "",
            after["text"] or "",
            shared_s / (before["end_s"] - before["start_s"]),
            shared_s / (after["end_s"] - after["start_s"]),
        )
    for before, after in pairwise(done):
        if _shared_s(before, after) > _SHARED_S:
            before["end_s"] = after["start_s"] = (after["start_s"] + before["end_s"]) / 2
    return done


def _shared_s(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Seconds that two segments share; 0 if they are no neighbours."""
    follows = after["segment"] == before["segment"] + 1
    if not follows or before["end_s"] is None or after["start_s"] is None:
        return 0.0
    return float(before["end_s"] - after["start_s"])


def _parted(before: str, after: str, tail: float, head: float) -> tuple[str, str]:
    """Two texts, up to and from the middle of the words in which they agree.

    Args:
        before: the earlier one.
        after: the later one.
        tail: share of the earlier that is told by the later too, 0..1.
        head: share of the later.
    """
    words, others = _words(before), _words(after)
    skipped = max(0, len(words) - _reach(len(words), tail))
    run = _common_run(words[skipped:], others[: _reach(len(others), head)])
    if run is None:
        return before, after
    half = run.length // 2
    cut = words[skipped + run.first + half - 1].end if skipped + run.first + half else 0
    return before[:cut], after[others[run.second + half].start :]


def _reach(words: int, share: float) -> int:
    return min(words, round(words * share * _SLACK) + _MORE_WORDS)


def _common_run(words: list[_Word], others: list[_Word]) -> _Run | None:
    """The longest run of words in common; of equals, that which leaves out the fewest words."""
    best: _Run | None = None
    fewest = 0
    above: list[tuple[int, int]] = [(0, 0)] * (len(others) + 1)  # words and letters, up to here
    for row, word in enumerate(words):
        line = [(0, 0)]
        for column, other in enumerate(others):
            if not word.letters or word.letters != other.letters:
                line.append((0, 0))
                continue
            count, letters = above[column][0] + 1, above[column][1] + len(word.letters)
            line.append((count, letters))
            run = _Run(row - count + 1, column - count + 1, count, letters)
            left_out = len(words) - 1 - row + run.second
            is_chance = count == 1 and letters < _LETTERS and left_out
            if is_chance or left_out > _LEFT_OUT * (count + 1):
                continue
            if best is None or (letters, -left_out) > (best.letters, -fewest):
                best, fewest = run, left_out
        above = line
    return best


def _words(text: str) -> list[_Word]:
    """The words of a text. What is no word by itself belongs to the one before it."""
    words: list[_Word] = []
    for found in re.finditer(r"\S+", text):
        start = found.start()
        for end in range(start + 1, found.end() + 1):
            inside = end < found.end()
            if inside and not (is_spaceless(text[end]) or is_spaceless(text[end - 1])):
                continue
            letters = _letters(text[start:end])
            if letters or not words:
                words.append(_Word(start, end, letters))
            else:
                words[-1] = words[-1]._replace(end=end)
            start = end
    return words


def _letters(text: str) -> str:
    """What two spellings of a word have in common."""
    kinds = ((char, unicodedata.category(char)[0]) for char in text.casefold())
    return "".join(char for char, kind in kinds if kind in "LMN")
