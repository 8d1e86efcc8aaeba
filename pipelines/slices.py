"""Scored rows -> the slices that they are in: by language, by length of sound and of reference."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from gemma3n.errors import InputError
from pipelines.normalisers import normalised
from pipelines.scored import Scored
from stages.languages import language_name

# Buckets begin at these, each ends where the next begins.
AUDIO_S = (0, 2, 5, 10, 30, 60)  # seconds; 30 is what the audio tower takes at once
REFERENCE_WORDS = (0, 1, 3, 6, 11, 21, 51)  # in words, so of little use without spaces between

Slices = dict[str, dict[str, list[Scored]]]  # by what -> slice -> rows


def slices_of(rows: Iterable[Scored]) -> Slices:
    """Rows by slice, slices in their order.

    A kind of slice that would be one slice only, or that no row has anything to say of, is left
    out; a row that has nothing to say of it is in none of its slices.
    """
    found: Slices = {}
    kinds: dict[str, Callable[[Scored], tuple[float, str] | None]] = {
        "language": _by_language,
        "audio_s": _by_seconds,
        "reference_words": _by_words,
    }
    rows = list(rows)
    for kind, slice_of in kinds.items():
        named: dict[tuple[float, str], list[Scored]] = {}
        for row in rows:
            if (key := slice_of(row)) is not None:
                named.setdefault(key, []).append(row)
        if len(named) > 1:
            found[kind] = {name: named[order, name] for order, name in sorted(named)}
    return found


def _by_language(row: Scored) -> tuple[float, str] | None:
    if row.language is None:
        return None
    try:
        return 0, language_name(row.language)
    except InputError:
        return 0, row.language


def _by_seconds(row: Scored) -> tuple[float, str] | None:
    return None if row.audio_s is None else _bucket(row.audio_s, AUDIO_S, " s")


def _by_words(row: Scored) -> tuple[float, str]:
    return _bucket(len(normalised(row.reference).split()), REFERENCE_WORDS, " words", whole=True)


def _bucket(
    value: float, begins: Sequence[int], unit: str, whole: bool = False
) -> tuple[float, str]:
    """Where a bucket begins, and its name: `2-5 s`, from 2 to just under 5; `3-5 words`, to 5."""
    for low, high in pairwise(begins):
        if value < high:
            last = high - 1 if whole else high
            return low, f"{low}{unit}" if last == low else f"{low}-{last}{unit}"
    return begins[-1], f"{begins[-1]}+{unit}"
