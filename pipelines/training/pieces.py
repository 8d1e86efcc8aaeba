"""Tokens of an answer -> the same text in smaller pieces now and then (BPE dropout, 1910.13267).

A decoder that always sees a word as the same few tokens learns words by heart; one that has to
spell some of them learns to listen.
"""

import random
from functools import cached_property

from gemma3n.tokenizer import PieceKind, Tokenizer


class Resplit:
    """Splits learned pieces of one vocabulary into two that it also knows.

    Args:
        tokenizer: whose pieces they are.
        share: probability with which a piece is split, and its parts again.
    """

    def __init__(self, tokenizer: Tokenizer, share: float) -> None:
        self.tokenizer, self.share = tokenizer, share

    def __call__(self, tokens: list[int], seed: int) -> list[int]:
        """The tokens, some of them split; a function of the seed."""
        if not self.share:
            return tokens
        draws = random.Random(f"split {seed}")
        return [part for token in tokens for part in self._parts(token, draws)]

    def _parts(self, token: int, draws: random.Random) -> list[int]:
        choices = self._splits.get(token)
        if not choices or draws.random() >= self.share:
            return [token]
        return [part for half in draws.choice(choices) for part in self._parts(half, draws)]

    @cached_property
    def _splits(self) -> dict[int, list[tuple[int, int]]]:
        """Every learned piece's splits; one of a single character has none."""
        pieces = self.tokenizer.pieces()
        known = {p.text: n for n, p in enumerate(pieces) if p.kind is PieceKind.NORMAL}
        return {
            token: [
                (known[text[:at]], known[text[at:]])
                for at in range(1, len(text))
                if text[:at] in known and text[at:] in known
            ]
            for text, token in known.items()
        }
