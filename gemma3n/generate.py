"""Prompts -> completions: prefill, decode steps, sampling. Batched, with rows of any length."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma3n.config import TextConfig
from gemma3n.errors import InputError
from gemma3n.sampling import Sampling
from gemma3n.text.cache import EMPTY, KVCache
from gemma3n.text.decoder import Running

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

_CHUNK = 512  # prompt tokens of a row run at once: longer passes fall out of the CPU's cache


@dataclass
class Prompt:
    """One row to complete."""

    token_ids: Sequence[int]
    embeddings: Tensor | None = None  # [seq, hidden], fused; None for a prompt of text only
    seed: int = 0  # of this row's sampling, so that batch mates do not matter


@dataclass
class Completion:
    """What the model said."""

    token_ids: list[int] = field(default_factory=list)  # without the stop id
    logprobs: list[float] = field(default_factory=list)  # natural log, of each token
    text: str = ""
    finish: str = "length"  # "stop": it ended by itself; "length": it was cut


def complete(
    model: "Gemma3n",
    prompts: Sequence[Prompt],
    sampling: Sampling,
    size: Running | None = None,
    chunk: int = _CHUNK,
    on_token: Callable[[int, int], None] | None = None,
) -> list[Completion]:
    """Complete all prompts in one batch.

    Args:
        model: with its text part loaded.
        prompts: the rows; each result depends on its own row only.
        sampling: the same for all rows.
        size: nested size to run at, None for all that is loaded.
        chunk: prompt tokens of a row run at once; changes memory and speed, no token.
        on_token: called with (row, token id) as soon as a token is known.

    Returns:
        One completion a prompt, in order.

    Raises:
        InputError: an empty prompt, or one that leaves no room in the context.
    """
    if not prompts:
        return []
    for prompt in prompts:
        check_length(len(prompt.token_ids), model.config.text.max_position_embeddings)
        _check_prompt(prompt, model.config.text)
    rows = _Rows(model, prompts, sampling, on_token)
    decoder, device = model.text, model.device
    cache = KVCache(model.config.text, len(prompts), model.dtype, device)
    token_ids, embeddings, positions = _left_padded(model, prompts)
    hidden = embeddings[:, :0]
    for start in range(0, token_ids.shape[1], chunk):
        columns = slice(start, start + chunk)
        final = start + chunk >= token_ids.shape[1]
        hidden = decoder(
            token_ids[:, columns],
            embeddings[:, columns],
            positions[:, columns],
            cache,
            size,
            last=1 if final else 0,
        )
    position = positions[:, -1:]
    while True:
        chosen = rows.take(decoder.logits(hidden[:, -1]).float())
        if rows.done:
            return rows.completions
        token_ids = torch.tensor(chosen, device=device)[:, None]
        position = position + 1
        hidden = decoder(token_ids, model.embed_tokens(chosen), position, cache, size)


class _Rows:
    """The growing answers of a batch."""

    def __init__(
        self,
        model: "Gemma3n",
        prompts: Sequence[Prompt],
        sampling: Sampling,
        on_token: Callable[[int, int], None] | None,
    ) -> None:
        self.sampling, self.on_token = sampling, on_token
        self.completions = [Completion() for _ in prompts]
        self.running = set(range(len(prompts)))
        context = model.config.text.max_position_embeddings
        self.room = [min(sampling.max_new_tokens, context - len(p.token_ids)) for p in prompts]
        self.generators = [torch.Generator().manual_seed(p.seed) for p in prompts]
        self.stop_ids = set(model.stop_ids if sampling.stop_ids is None else sampling.stop_ids)
        self.decode = model.decode_text

    @property
    def done(self) -> bool:
        return not self.running

    def take(self, logits: Tensor) -> list[int]:
        """Choose each row's next token from float32 logits [rows, vocab]."""
        chosen = self._choose(logits)
        logprobs = logits.log_softmax(-1)[torch.arange(len(chosen)), chosen].tolist()
        for row in sorted(self.running):
            self._append(row, chosen[row], logprobs[row])
        return chosen

    def _choose(self, logits: Tensor) -> list[int]:
        if self.sampling.temperature == 0:
            return logits.argmax(-1).tolist()
        draws = [torch.rand((), generator=g).item() for g in self.generators]
        return sample(logits, self.sampling, torch.tensor(draws, device=logits.device)).tolist()

    def _append(self, row: int, token: int, logprob: float) -> None:
        answer = self.completions[row]
        if token in self.stop_ids:
            self._finish(row, "stop")
            return
        answer.token_ids.append(token)
        answer.logprobs.append(logprob)
        if self.on_token is not None:
            self.on_token(row, token)
        if self.sampling.stop and (at := self._stop_at(answer)) is not None:
            self._finish(row, "stop", at)
        elif len(answer.token_ids) == self.room[row]:
            self._finish(row, "length")

    def _stop_at(self, answer: Completion) -> int | None:
        text = self.decode(answer.token_ids)
        found = [at for stop in self.sampling.stop if (at := text.find(stop)) >= 0]
        return min(found, default=None)

    def _finish(self, row: int, why: str, at: int | None = None) -> None:
        answer = self.completions[row]
        answer.finish = why
        answer.text = self.decode(answer.token_ids)[:at]
        self.running.discard(row)


def sample(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """Draw one token a row.

    Args:
        logits: float32 [rows, vocab]
        sampling: temperature above 0, top-k, top-p.
        draws: float32 [rows] in 0..1, each row's own random number.

    Returns:
        int64 [rows]
    """
    ordered, ids = (logits / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        ordered, ids = ordered[:, : sampling.top_k], ids[:, : sampling.top_k]
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what more likely tokens have together
    # The most likely token has 0 before it, so that at least one always stays.
    kept = before < sampling.top_p
    reached = (probabilities * kept).cumsum(-1)
    # The first token whose cumulative probability passes the draw; never one that was cut.
    passed = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    place = torch.minimum(passed, kept.sum(-1, keepdim=True) - 1)
    return ids.gather(1, place).squeeze(1)


def check_length(length: int, context: int) -> None:
    """Refuse a prompt that cannot be answered.

    Args:
        length: of the prompt, in tokens.
        context: tokens that prompt and answer may have together.

    Raises:
        InputError: it is empty, or leaves no room for an answer.
    """
    if length == 0:
        raise InputError("the prompt is empty; give at least one token.")
    if length >= context:
        raise InputError(
            f"the prompt has {length} tokens, {length - context + 1} too many: the context "
            f"holds {context} and an answer needs 1. Shorten the text, or use fewer media."
        )


def _check_prompt(prompt: Prompt, text: TextConfig) -> None:
    worst = max(prompt.token_ids, key=lambda token: max(token, -token * text.vocab_size))
    if not 0 <= worst < text.vocab_size:
        raise InputError(
            f"the prompt holds token id {worst}; accepted are 0 to {text.vocab_size - 1}. "
            "Use the tokenizer of this checkpoint."
        )
    expected = (len(prompt.token_ids), text.hidden_size)
    if prompt.embeddings is not None and tuple(prompt.embeddings.shape) != expected:
        raise InputError(
            f"the prompt's embeddings have shape {list(prompt.embeddings.shape)}; accepted is "
            f"{list(expected)}, one for each token. Make them with `fuse`."
        )


def _left_padded(model: "Gemma3n", prompts: Sequence[Prompt]) -> tuple[Tensor, Tensor, Tensor]:
    """Token ids [rows, seq], embeddings [rows, seq, hidden], positions [rows, seq].

    Padding is on the left, so that every row's last token is in the last column.
    """
    text, longest = model.config.text, max(len(p.token_ids) for p in prompts)
    shape = (len(prompts), longest)
    token_ids = torch.full(shape, text.pad_token_id, device=model.device)
    positions = torch.full(shape, EMPTY, device=model.device)
    embeddings = torch.zeros((*shape, text.hidden_size), dtype=model.dtype, device=model.device)
    for row, prompt in enumerate(prompts):
        length = len(prompt.token_ids)
        ids = torch.tensor(prompt.token_ids, device=model.device)
        token_ids[row, -length:] = ids
        positions[row, -length:] = torch.arange(length, device=model.device)
        fused = model.embed(ids[None])[0] if prompt.embeddings is None else prompt.embeddings
        embeddings[row, -length:] = fused.to(embeddings)
    return token_ids, embeddings, positions
