"""What was said beside what should have been: word and character errors, exact matches, token F1.

Every score of a set is a sum over its rows divided by another, so that one bootstrap serves all.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_NOT_SPOKEN = re.compile(r"[^\w\s']")
_RESAMPLES = 1000
_OUTSIDE = (2.5, 97.5)  # percentiles of a 95 % interval

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """What one row adds to a score: `of` in `out_of`."""

    of: float
    out_of: float


@dataclass(frozen=True)
class Score:
    """A set's score, 0..1 (error rates may be above), and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def normalised(text: str) -> str:
    """Lower case, no punctuation but apostrophes, single spaces: what is compared.

    Simpler than Whisper's English normaliser: numbers, contractions and spellings stay as they are.
    """
    return " ".join(_NOT_SPOKEN.sub(" ", text.lower()).split())


def row_parts(reference: str, text: str) -> dict[str, Part]:
    """One row's part in every score.

    Args:
        reference: what should have been said.
        text: what was said.

    Returns:
        `wer`, `cer`: errors in words and characters, of those of the reference; `exact`: 0 or 1;
        `f1`: of the words as a bag, as in SQuAD (arXiv 1606.05250, §6.1). All after `normalised`.
    """
    import jiwer

    right, said = normalised(reference), normalised(text)
    words, letters = right.split(), len(right)
    if right:
        by_word = jiwer.process_words(right, said)
        by_letter = jiwer.process_characters(right, said)
        word_errors = by_word.substitutions + by_word.deletions + by_word.insertions
        letter_errors = by_letter.substitutions + by_letter.deletions + by_letter.insertions
    else:
        word_errors, letter_errors = len(said.split()), len(said)
    return {
        "wer": Part(word_errors, len(words)),
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
    low, high = np.percentile(_resampled(parts), _OUTSIDE)
    return Score(_ratio(parts), float(low), float(high))


def difference(parts: Sequence[Part], others: Sequence[Part]) -> Score:
    """How much higher the first score is than the second on the same rows, paired."""
    low, high = np.percentile(_resampled(parts) - _resampled(others), _OUTSIDE)
    return Score(_ratio(parts) - _ratio(others), float(low), float(high))


def _ratio(parts: Sequence[Part]) -> float:
    return sum(part.of for part in parts) / max(1, sum(part.out_of for part in parts))


def _resampled(parts: Sequence[Part]) -> F64:
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
