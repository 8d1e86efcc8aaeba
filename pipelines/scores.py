"""What was said beside what should have been: word and character errors, exact matches."""

import re
from collections.abc import Sequence

_NOT_SPOKEN = re.compile(r"[^\w\s']")


def normalised(text: str) -> str:
    """Lower case, no punctuation but apostrophes, single spaces: what WER compares.

    Simpler than Whisper's English normaliser: numbers, contractions and spellings stay as they are.
    """
    return " ".join(_NOT_SPOKEN.sub(" ", text.lower()).split())


def word_error_rate(references: Sequence[str], texts: Sequence[str]) -> float:
    """Wrong, missing and extra words as a share of the words that should have been said."""
    import jiwer

    pairs = [(normalised(r), normalised(t)) for r, t in zip(references, texts, strict=True)]
    said = [(reference, text) for reference, text in pairs if reference]
    return float(jiwer.wer([r for r, _ in said], [t for _, t in said]))


def exact_match(references: Sequence[str], texts: Sequence[str]) -> float:
    """Share of the rows whose normalised texts are the same."""
    same = [normalised(r) == normalised(t) for r, t in zip(references, texts, strict=True)]
    return sum(same) / len(same)
