"""Translations beside references: BLEU and chrF of a set, as sacrebleu counts them.

Both pool n-grams over the rows of a set; they are no means over rows. What a row adds to the
pools is kept, so that a set can be drawn from again without counting anew. Texts are as they
stand: sacrebleu's own tokenisation is part of what makes its scores comparable between papers.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from gemma3n.errors import InputError, SettingsError
from pipelines.intervals import F64, Metric, Part
from stages.languages import language_name

# Languages without spaces between words, which the default tokenisation would take for one word.
_TOKENISERS = {
    "Chinese": "zh",
    "Mandarin": "zh",
    "Cantonese": "zh",
    "Japanese": "char",
    "Thai": "char",
    "Khmer": "char",
    "Lao": "char",
    "Burmese": "char",
    "Tibetan": "char",
}
_DEFAULT = "13a"  # sacrebleu's, that of WMT


class TranslationScores:
    """BLEU (arXiv 1804.08771) and chrF2 into one language."""

    def __init__(self, to: str) -> None:
        """Make the counters.

        Args:
            to: the language of references and texts, as `language_name` knows it.

        Raises:
            SettingsError: sacrebleu is not installed.
        """
        try:
            from sacrebleu.metrics.bleu import BLEU
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as error:
            raise SettingsError(
                "evaluate scores translations with sacrebleu, which is not installed. "
                "Install gemma3n-pipelines[eval]."
            ) from error
        tokenise = _tokeniser(to)
        self._counters: dict[str, Any] = {"bleu": BLEU(tokenize=tokenise), "chrf": CHRF()}
        # One row by itself may be too short for 4-grams, which then do not count.
        self._of_rows = {**self._counters, "bleu": BLEU(tokenize=tokenise, effective_order=True)}
        self._references: set[int] = set()  # how many a row had
        self.metrics = {
            "bleu": Metric("BLEU", value=partial(_values, self._counters["bleu"])),
            "chrf": Metric("chrF", value=partial(_values, self._counters["chrf"])),
        }

    def counts(self, references: Sequence[str], text: str) -> dict[str, list[float]]:
        """What one row adds to the pools, by score: counts of n-grams and lengths."""
        self._references.add(len(references))
        return {
            name: list(map(float, _statistics(counter, references, text)))
            for name, counter in self._counters.items()
        }

    def parts(self, counts: dict[str, list[float]]) -> dict[str, Part]:
        """The scores of one row by itself, 0..1."""
        return {
            name: Part(float(_values(self._of_rows[name], np.array(some))), 1)
            for name, some in counts.items()
        }

    @property
    def signatures(self) -> dict[str, str]:
        """What was counted, as sacrebleu says it."""
        for counter in self._counters.values():
            counter.num_refs = max(self._references) if len(self._references) == 1 else -1
        return {name: str(counter.get_signature()) for name, counter in self._counters.items()}


# The two methods by which sacrebleu's own significance tests take rows apart and sets together. No
# public one gives what a row adds to chrF; a test compares with `corpus_score`.


def _statistics(counter: Any, references: Sequence[str], text: str) -> list[Any]:
    found: list[list[Any]] = counter._extract_corpus_statistics([text], [[r] for r in references])
    return found[0]


def _values(counter: Any, sums: F64) -> F64:
    """[..., columns] -> [...], 0..1."""
    each = sums.reshape(-1, sums.shape[-1])
    scores = [counter._compute_score_from_stats(some).score for some in each]
    return np.array(scores).reshape(sums.shape[:-1]) / 100


def _tokeniser(to: str) -> str:
    try:
        return _TOKENISERS.get(language_name(to), _DEFAULT)
    except InputError:
        return _DEFAULT
