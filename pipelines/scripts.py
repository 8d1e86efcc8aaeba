"""How wide characters are, and which scripts put no spaces between words.

Unicode UAX #11 (width) and the rules of UAX #14 (line breaks) that subtitles need.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

# Thai and Lao, Burmese, Khmer, and what Chinese and Japanese are written with, their punctuation
# included. Not Korean, which has spaces.
_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u312f\u31a0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff01-\uff9f\U00020000-\U0003ffff]"
)
_MARKS = ("Mn", "Mc", "Me", "Cf")  # they belong to the character before
# Vowels and signs that are letters to Unicode, but stand after, or before, their consonant.
_AFTER = set("ะาำๅฯະາຳぁぃぅぇぉっゃゅょゎゕゖァィゥェォッャュョヮヵヶｧｨｩｪｫｯｬｭｮ")
_BEFORE = set("เแโใไເແໂໃໄ")
_STACKERS = "\u1039\u17d2\u200d"  # the next character goes below, or into, the one before


@lru_cache(maxsize=4096)
def is_spaceless(char: str) -> bool:
    """Whether the script of a character has no spaces between words."""
    return _SPACELESS.match(char) is not None


@lru_cache(maxsize=4096)
def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def columns(text: str) -> int:
    """Width of a text: a Chinese character, or an emoji, takes two columns, an accent none."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def joined(texts: Iterable[str]) -> str:
    """Texts of one item, one after the other: a space between them where their scripts have one.

    Args:
        texts: with or without white space around them; those of nothing else are left out.
    """
    parts: list[str] = []
    for text in filter(None, (text.strip() for text in texts)):
        tight = not parts or (is_spaceless(parts[-1][-1]) and is_spaceless(text[0]))
        parts += [text] if tight else [" ", text]
    return "".join(parts)


def pieces(word: str, width: int) -> list[str]:
    """A word, split where a line may end within it.

    Args:
        word: without spaces.
        width: columns that no piece may be wider than; where a script has no such places, the
            piece is cut there.
    """
    parts: list[str] = []
    for cluster, may_break in _clusters(word):
        if parts and not may_break and columns(parts[-1] + cluster) <= width:
            parts[-1] += cluster
        else:
            parts.append(cluster)
    return parts


def _clusters(word: str) -> list[tuple[str, bool]]:
    """What a reader sees as one character each, and whether a line may end before it."""
    clusters: list[tuple[str, bool]] = []
    before = ""
    for char in word:
        belongs = unicodedata.category(char) in _MARKS or "\U0001f3fb" <= char <= "\U0001f3ff"
        if clusters and (belongs or before in _STACKERS):
            clusters[-1] = (clusters[-1][0] + char, clusters[-1][1])
        else:
            clusters.append((char, bool(clusters) and _may_break(clusters[-1][0][0], char)))
        before = char
    return clusters


def _may_break(before: str, after: str) -> bool:
    """Whether a line may end between two characters of a word."""
    if not (is_spaceless(before) or is_spaceless(after)):
        return False
    if before in _BEFORE or unicodedata.category(before) in ("Ps", "Pi"):  # an opening bracket
        return False
    # Nor does a line begin with a closing one, a comma, or what prolongs or repeats.
    return after not in _AFTER and unicodedata.category(after) not in ("Pe", "Pf", "Po", "Pd", "Lm")
