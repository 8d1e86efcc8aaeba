"""What was said, what should have been -> word and character errors, exact matches, token F1."""

from collections import Counter
from collections.abc import Sequence

from pipelines.intervals import Metric, Part
from pipelines.normalisers import Normalise, normalised

METRICS = {
    "wer": Metric("WER %", lower_is_better=True),
    "substitutions": Metric("substituted %", lower_is_better=True),
    "deletions": Metric("deleted %", lower_is_better=True),
    "insertions": Metric("inserted %", lower_is_better=True),
    "cer": Metric("CER %", lower_is_better=True),
    "exact": Metric("exact %"),
    "f1": Metric("token F1 %"),
}


def row_parts(
    references: Sequence[str], text: str, normalise: Normalise = normalised
) -> dict[str, Part]:
    """One row's part in every score.

    Args:
        references: what should have been said, each as good as the others; at least one.
        text: what was said.
        normalise: what makes both comparable.

    Returns:
        `wer`, `cer`: errors in words and characters, of those of the reference; `substitutions`,
        `deletions`, `insertions` of words; `exact`: 0 or 1; `f1`: of the words as a bag, as in
        SQuAD (arXiv 1606.05250, §6.1). All after `normalise`. Of several references that counts
        which is nearest: for words, for characters, for exact matches and F1 each.
    """
    said = normalise(text)
    each = [_parts(normalise(reference), said) for reference in references]
    by_words = min(each, key=lambda parts: _share(parts["wer"]))
    return {
        **by_words,
        "cer": min((parts["cer"] for parts in each), key=_share),
        "exact": max((parts["exact"] for parts in each), key=_share),
        "f1": max((parts["f1"] for parts in each), key=_share),
    }


def _parts(right: str, said: str) -> dict[str, Part]:
    import jiwer

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


def _share(part: Part) -> float:
    return part.of / max(1, part.out_of)


def _token_f1(right: list[str], said: list[str]) -> float:
    if not right or not said:
        return float(right == said)
    shared = (Counter(right) & Counter(said)).total()
    return 2 * shared / (len(right) + len(said))


def word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Wrong, missing and extra words as a share of the words that should have been said."""
    return _over_rows("wer", references, texts)


def exact_match(references: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the rows whose normalised texts are the same."""
    return _over_rows("exact", references, texts)


def _over_rows(metric: str, references: Sequence[str], texts: Sequence[str]) -> float:
    parts = [row_parts([r], t)[metric] for r, t in zip(references, texts, strict=True)]
    return sum(part.of for part in parts) / max(1, sum(part.out_of for part in parts))
