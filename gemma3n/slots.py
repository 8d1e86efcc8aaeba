"""Rows that are decoded together: each has a slot of the KV cache, which the next row takes over.

The slots in use are always the first ones, so that a forward pass works on views of the cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma3n.matformer import NestedSize
from gemma3n.padding import left_padded
from gemma3n.pieces import PASS_TOKENS, chunk_tokens
from gemma3n.static_step import StaticStep
from gemma3n.text.cache import EMPTY, KVCache
from gemma3n.text.decoder import Running

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

_PADDED = 0.8  # a prompt shorter than so much of the longest in a pass gets a pass of its own


@dataclass
class Prompt:
    """One row to complete."""

    token_ids: Sequence[int]
    embeddings: Tensor | None = None  # [seq, hidden], fused; None for a prompt of text only
    seed: int = 0  # of this row's sampling, so that batch mates do not matter
    nested: str | NestedSize | None = None  # size that answers it; None is the job's


class Slots:
    """The rows that one nested size decodes at once.

    Args:
        model: with its text part loaded.
        count: of rows, at the most.
        size: nested size to run at.
        spare: tokens that may be taken back at once, see `extend`.
        chunk: prompt tokens of a row run at once; None suits the machine. It changes no token.
    """

    def __init__(
        self,
        model: "Gemma3n",
        count: int,
        size: Running,
        spare: int = 0,
        chunk: int | None = None,
    ) -> None:
        self.model, self.size, self.chunk = model, size, chunk
        self.lengths: list[int] = []  # tokens of each row that the cache holds
        self.cache = KVCache(model.config.text, count, model.dtype, model.device, spare)
        self.static = StaticStep(model, self.cache, size) if model.static else None

    def admit(self, prompts: Sequence[Prompt]) -> Tensor:
        """Read prompts into the next free slots.

        Args:
            prompts: as many as are `free`, at the most.

        Returns:
            Logits of the token after each prompt, float32 [prompts, vocab].
        """
        self.model.text.ahead([token for prompt in prompts for token in prompt.token_ids])
        found: list[Tensor] = []
        for some in runs_of_like(prompts):
            first = len(self.lengths)
            rows = range(first, first + len(some))
            self.cache.clear(rows)
            found.append(self._prefill(some, rows))
            self.lengths += [len(prompt.token_ids) for prompt in some]
        return torch.cat(found)

    def step(self, token_ids: Sequence[int]) -> Tensor:
        """Logits float32 [rows, vocab] after one more token of each row in use."""
        if self.static is not None:
            logits = self.static(token_ids, self.lengths)
            self.lengths = [held + 1 for held in self.lengths]
            return logits
        return self.extend([[token] for token in token_ids])[:, 0]

    def extend(self, token_ids: Sequence[Sequence[int]], last: int | None = None) -> Tensor:
        """Add tokens to each row in use; of these `take_back` undoes up to `spare`.

        Args:
            token_ids: of each row, at least one.
            last: how many of the last tokens' logits are wanted, None for all.

        Returns:
            Logits float32 [rows, last, vocab]; a row with fewer tokens has its own at the end.
        """
        rows, longest = len(self.lengths), max(map(len, token_ids))
        before = max(self.lengths)
        padded = [[0] * (longest - len(ids)) + list(ids) for ids in token_ids]
        places = [
            [EMPTY] * (longest - len(ids)) + list(range(held, held + len(ids)))
            for ids, held in zip(token_ids, self.lengths, strict=True)
        ]
        self.lengths = [held + len(ids) for held, ids in zip(self.lengths, token_ids, strict=True)]
        hidden = self.model.text(
            torch.tensor(padded, device=self.model.device),
            self.model.embed_tokens(padded),
            torch.tensor(places, device=self.model.device),
            self.cache.part(range(rows), before, max(self.lengths)),
            self.size,
            last,
        )
        return self.model.text.logits(hidden).float()

    def take_back(self, row: int, tokens: int) -> None:
        """Forget a row's last tokens."""
        self.lengths[row] -= tokens  # what the cache holds of them is overwritten before it is seen

    def leave(self, row: int) -> None:
        """Free a row's slot; the last row takes its place and its number."""
        last = len(self.lengths) - 1
        if row != last:
            self.cache.move(last, row)
            self.lengths[row] = self.lengths[last]
        self.lengths.pop()

    def _prefill(self, prompts: Sequence[Prompt], rows: range) -> Tensor:
        token_ids, embeddings, positions = _padded(self.model, prompts)
        length = token_ids.shape[1]
        chunk = self.chunk or chunk_tokens(len(prompts))
        hidden = embeddings
        for start in range(0, length, chunk):
            stop = min(start + chunk, length)
            columns = slice(start, stop)
            hidden = self.model.text(
                token_ids[:, columns],
                embeddings[:, columns],
                positions[:, columns],
                self.cache.part(rows, start, stop),
                self.size,
                last=1 if stop == length else 0,
            )
        return self.model.text.logits(hidden[:, -1]).float()


def runs_of_like(prompts: Sequence[Prompt]) -> list[list[Prompt]]:
    """Neighbouring prompts of about one length, so that a pass is not padding for most of them."""
    runs: list[list[Prompt]] = []
    for prompt in prompts:
        lengths = sorted(len(p.token_ids) for p in (*(runs[-1] if runs else ()), prompt))
        # Short ones cost a pass each whatever is in them.
        if runs and (
            lengths[0] >= _PADDED * lengths[-1] or lengths[-1] * len(lengths) <= PASS_TOKENS
        ):
            runs[-1].append(prompt)
        else:
            runs.append([prompt])
    return runs


def _padded(model: "Gemma3n", prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids [rows, seq], embeddings [rows, seq, hidden], positions [rows, seq]."""
    text, rows = model.config.text, [prompt.token_ids for prompt in prompts]
    token_ids, positions = left_padded(rows, text.pad_token_id, model.device)
    shape = (*token_ids.shape, text.hidden_size)
    embeddings = torch.zeros(shape, dtype=model.dtype, device=model.device)
    for row, prompt in enumerate(prompts):
        own = slice(-len(prompt.token_ids), None)
        fused = prompt.embeddings
        if fused is None:
            fused = model.embed(token_ids[row : row + 1, own])[0]
        embeddings[row, own] = fused.to(embeddings)
    return token_ids, embeddings, positions
