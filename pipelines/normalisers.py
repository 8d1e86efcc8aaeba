"""A text -> what of it is compared: by default no case and no punctuation."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from gemma3n.errors import SettingsError
from pipelines.settings import Normaliser

Normalise = Callable[[str], str]

_NOT_SPOKEN = "PS"  # Unicode categories: punctuation and symbols
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2018\u2019\u02bc", "'"))


def normaliser(kind: Normaliser) -> Normalise:
    """The function that makes texts comparable.

    Raises:
        SettingsError: it comes with a package that is not installed.
    """
    match kind:
        case Normaliser.basic:
            return normalised
        case Normaliser.english:
            return _english()
        case Normaliser.none:
            return _spaces_only


def normalised(text: str) -> str:
    """Lower case, no punctuation but apostrophes, single spaces: what is compared.

    Simpler than Whisper's English normaliser: numbers, contractions and spellings stay as they are.
    Composed as in NFKC, so that an accent counts the same however it was typed.
    """
    plain = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES)).lower()
    return " ".join("".join(c if _is_spoken(c) else " " for c in plain).split())


def _is_spoken(character: str) -> bool:
    return character == "'" or unicodedata.category(character)[0] not in _NOT_SPOKEN


def _spaces_only(text: str) -> str:
    return " ".join(text.split())


@cache
def _english() -> Normalise:
    """Whisper's (arXiv 2212.04356, appendix C): `won't` is `will not`, `twenty-one` is `21`."""
    try:
        from whisper_normalizer.english import EnglishTextNormalizer
    except ImportError as error:
        raise SettingsError(
            "normalise=english is Whisper's normaliser, and whisper-normalizer is not installed. "
            "Install gemma3n-pipelines[eval], or set normalise=basic."
        ) from error
    whisper = EnglishTextNormalizer()
    # It takes out what is in brackets, and a text may be all that: then nothing was said.
    return lambda text: re.sub(r"\s+", " ", whisper(text)).strip()
