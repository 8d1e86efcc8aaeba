"""A reference beside what was said -> both, with the words marked in which they differ."""

from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher

from pipelines.normalisers import normalised


@dataclass(frozen=True)
class Piece:
    """Some words of a text."""

    text: str
    differs: bool


def compared(reference: str, text: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces; words are the same if they are once normalised, as in the scores."""
    right, said = reference.split(), text.split()
    ours, theirs = [normalised(word) for word in right], [normalised(word) for word in said]
    marked_right, marked_said = [False] * len(right), [False] * len(said)
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for kind, a, b, c, d in matcher.get_opcodes():
        if kind != "equal":
            marked_right[a:b] = [bool(key) for key in ours[a:b]]
            marked_said[c:d] = [bool(key) for key in theirs[c:d]]
    return list(_pieces(right, marked_right)), list(_pieces(said, marked_said))


def _pieces(words: list[str], marked: list[bool]) -> Iterator[Piece]:
    """Neighbours that are marked alike, together."""
    start = 0
    for n in range(1, len(words) + 1):
        if n == len(words) or marked[n] != marked[start]:
            yield Piece(" ".join(words[start:n]), marked[start])
            start = n
