"""What was said beside what should have been: word and character errors, exact matches, token F1.

Every score of a set is a sum over its rows divided by another, so that one bootstrap serves all.
"""

import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_NOT_SPOKEN = "PS"  # Unicode categories: punctuation and symbols
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc", "'"))
_RESAMPLES = 1000
_FEWEST = 10  # rows, of which a bootstrap says anything
_OUTSIDE = (2.5, 97.5)  # percentiles of a 95 % interval

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What one row adds to a score: `of` in `out_of`."""

    of: float
    out_of: float


@dataclass(frozen=True)
class Score:
    """A set's score, 0..1 (error rates may be above), and its 95 % bootstrap interval.

    Too few rows have no interval.
    """

    value: float
    low: float | None
    high: float | None


def normalised(text: str) -> str:
    """Lower case, no punctuation but apostrophes, single spaces: what is compared.

    Simpler than Whisper's English normaliser: numbers, contractions and spellings stay as they are.
    Composed as in NFKC, so that an accent counts the same however it was typed.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    return " ".join("".join(c if _is_spoken(c) else " " for c in plain).split())


def _is_spoken(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] not in _NOT_SPOKEN


def row_parts(reference: str, text: str) -> dict[str, Part]:
    """One row's part in every score.

    Args:
        reference: what should have been said.
        text: what was said.

    Returns:
        `wer`, `cer`: errors in words and characters, of those of the reference; `substitutions`,
        `deletions`, `insertions` of words; `exact`: 0 or 1; `f1`: of the words as a bag, as in
        SQuAD (arXiv 1606.05250, §6.1). All after `normalised`.
    """
    import jiwer

    right, said = normalised(reference), normalised(text)
    words, letters = right.split(), len(right)
    swapped, missing, extra, letter_errors = 0, 0, len(said.split()), len(said)
    if right:
        by_word = jiwer.process_words(right, said)
        swapped, missing, extra = by_word.substitutions, by_word.deletions, by_word.insertions
        by_letter = jiwer.process_characters(right, said)
        letter_errors = by_letter.substitutions + by_letter.deletions + by_letter.insertions
    return {
        "wer": Part(swapped + missing + extra, len(words)),
        "substitutions": Part(swapped, len(words)),
        "deletions": Part(missing, len(words)),
        "insertions": Part(extra, len(words)),
        "cer": Part(letter_errors, letters),
        "exact": Part(float(right == said), 1),
        "f1": Part(_token_f1(words, said.split()), 1),
    }


def _token_f1(right: list[str], said: list[str]) -> float:
    if not right or not said:
        return float(right == said)
    shared = (Counter(right) & Counter(said)).total()
    return 2 * shared / (len(right) + len(said))


def score(parts: Sequence[Part]) -> Score:
    """The score of a set."""
    return _with_interval(_ratio(parts), lambda: _resampled(tuple(parts)), len(parts))


def difference(parts: Sequence[Part], others: Sequence[Part]) -> Score:
    """How much higher the first score is than the second on the same rows, paired."""
    value = _ratio(parts) - _ratio(others)
    return _with_interval(
        value, lambda: _resampled(tuple(parts)) - _resampled(tuple(others)), len(parts)
    )


def _with_interval(value: float, resampled: Callable[[], F64], rows: int) -> Score:
    if rows < _FEWEST:
        return Score(value, None, None)
    low, high = np.percentile(resampled(), _OUTSIDE)
    return Score(value, float(low), float(high))


def _ratio(parts: Sequence[Part]) -> float:
    return sum(part.of for part in parts) / max(1, sum(part.out_of for part in parts))


@lru_cache(maxsize=64)  # a set's score is needed again for each difference to it
def _resampled(parts: tuple[Part, ...]) -> F64:
    """The score of as many rows drawn with replacement, again and again; the same draws always."""
    draws = np.random.default_rng(0)
    of = np.array([part.of for part in parts])
    out_of = np.array([part.out_of for part in parts])
    drawn = (draws.integers(len(parts), size=len(parts)) for _ in range(_RESAMPLES))
    return np.array([of[rows].sum() / max(1, out_of[rows].sum()) for rows in drawn])


def word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Wrong, missing and extra words as a share of the words that should have been said."""
    return _ratio([row_parts(r, t)["wer"] for r, t in zip(references, texts, strict=True)])


def exact_match(references: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the rows whose normalised texts are the same."""
    return _ratio([row_parts(r, t)["exact"] for r, t in zip(references, texts, strict=True)])
