"""Real text -> the token ids by which a bench reads PLE rows, and what a row cache has of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from gemma3n.errors import SettingsError
from pipelines.reuse import Ints, hit_rate, in_turns, reuse_distances

KEPT = tuple(2**n for n in range(6, 16))  # rows of the caches whose hit rate is told


def read_ids(texts: Sequence[str], tokenizer: str | Path) -> Ints:
    """The ids of text files, one file after the other.

    Args:
        texts: UTF-8 files.
        tokenizer: `tokenizer.json` of Hugging Face, or a sentencepiece model.

    Raises:
        SettingsError: one of these is not there or not readable, or there is no text.
    """
    lines = [line for path in texts for line in _read(path).splitlines(keepends=True)]
    if not lines:
        raise SettingsError(f"text={list(texts)} holds no text. Name files that do.")
    if not Path(tokenizer).is_file():
        raise SettingsError(
            f"tokenizer='{tokenizer}' does not exist. Name a tokenizer.json or a sentencepiece "
            "model, or leave it out for the checkpoint's own."
        )
    encoded = _pieces(lines, Path(tokenizer))
    return np.array([token for ids in encoded for token in ids], np.int64)


def curve(ids: Ints, rows: int) -> dict[str, float]:
    """Hit rates in percent by the rows that a cache keeps, where so many texts are read at once."""
    distances = reuse_distances(in_turns(ids, rows))
    return {f"hit rate of {kept} rows, %": 100 * hit_rate(distances, kept) for kept in KEPT}


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise SettingsError(
            f"text '{path}' cannot be read: {error}. Name text files in UTF-8."
        ) from error


def _pieces(lines: list[str], tokenizer: Path) -> list[list[int]]:
    try:
        if tokenizer.suffix == ".json":
            return _of_json(lines, tokenizer)
        from sentencepiece import SentencePieceProcessor

        return SentencePieceProcessor(model_file=str(tokenizer)).encode(lines)
    except SettingsError:
        raise
    except Exception as error:  # what these libraries raise is no class of their own
        raise SettingsError(
            f"tokenizer='{tokenizer}' cannot be read: {error}. Name a tokenizer.json or a "
            "sentencepiece model."
        ) from error


def _of_json(lines: list[str], tokenizer: Path) -> list[list[int]]:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise SettingsError(
            f"tokenizer='{tokenizer}' is read by the package tokenizers, which is not installed: "
            "pip install 'gemma3n-pipelines[bench]'. Or name a sentencepiece model."
        ) from error
    reader = Tokenizer.from_file(str(tokenizer))
    return [one.ids for one in reader.encode_batch(lines, add_special_tokens=False)]
