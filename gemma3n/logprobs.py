"""Token ids and what may follow them -> how probable the model finds that."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gemma3n.errors import InputError
from gemma3n.padding import left_padded
from gemma3n.text.cache import KVCache
from gemma3n.text.decoder import Running

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

_CHUNK = 512  # tokens of a row run at once, and of a row whose logits are in memory together


@dataclass
class Question:
    """One row: ids that the model reads, and texts whose ids it could have been reading.

    A target's last token is what would follow the final id; its others are themselves the final
    ids: a target of n tokens is predicted at the last n of `token_ids`. Targets of one question
    share all but their last token, as the letters of a multiple choice do.
    """

    token_ids: Sequence[int]
    targets: Sequence[Sequence[int]]


@dataclass
class Likelihood:
    """What the model thinks of one target."""

    logprobs: list[float] = field(default_factory=list)  # natural log, of each token
    greedy: bool = True  # whether each is the likeliest token of all

    @property
    def total(self) -> float:
        """Log-probability of the target as a whole."""
        return sum(self.logprobs)


@torch.inference_mode()
def likelihoods(
    model: "Gemma3n",
    questions: Sequence[Question],
    size: Running | None = None,
    chunk: int = _CHUNK,
) -> list[list[Likelihood]]:
    """Judge all targets of a batch, in memory that does not grow with length times vocabulary.

    Args:
        model: with its text part loaded.
        questions: the rows; each result depends on its own row only.
        size: nested size to run at, None for all that is loaded.
        chunk: tokens of a row run at once; changes memory and speed only.

    Returns:
        For each question, a likelihood a target.

    Raises:
        InputError: a question without ids, a target without or with more than its question has, or
            more ids than the context holds.
    """
    if not questions:
        return []
    for question in questions:
        _check(question, model.config.text.max_position_embeddings)
    found = [[Likelihood() for _ in question.targets] for question in questions]
    model.text.ahead([token for question in questions for token in question.token_ids])
    rows = [question.token_ids for question in questions]
    token_ids, positions = left_padded(rows, model.config.text.pad_token_id, model.device)
    longest = token_ids.shape[1]
    wanted = [max((len(target) for target in q.targets), default=0) for q in questions]
    cache = KVCache(model.config.text, len(questions), model.dtype, model.device)
    for start in range(0, longest, chunk):
        end = min(longest, start + chunk)
        last = max(0, end - max(start, longest - max(wanted)))
        ids = token_ids[:, start:end]
        embeddings = model.embed(ids)
        cached = cache.part(range(len(questions)), start, end)
        hidden = model.text(ids, embeddings, positions[:, start:end], cached, size, last=last)
        for row, question in enumerate(questions):
            count = min(last, end - max(start, longest - wanted[row]))
            if count > 0:
                logits = model.text.logits(hidden[row, -count:]).float()
                _judge(logits.log_softmax(-1), question, found[row], longest - end)
    return found


def _judge(logprobs: Tensor, question: Question, found: list[Likelihood], after: int) -> None:
    """Add what a stretch of one row says of its targets.

    Args:
        logprobs: float32 [columns, vocab], of columns that end `after` columns before the last.
        question: of the row.
        found: of its targets, as far as they were judged before.
        after: columns.
    """
    best = logprobs.argmax(-1)
    for target, one in zip(question.targets, found, strict=True):
        ends = len(target) - after  # of the target's tokens, in this stretch
        count = min(len(logprobs), ends)
        if count <= 0:
            continue
        ids = torch.tensor(list(target[ends - count : ends]), device=logprobs.device)
        one.logprobs += logprobs[-count:].gather(1, ids[:, None])[:, 0].tolist()
        one.greedy = one.greedy and bool((best[-count:] == ids).all())


def _check(question: Question, context: int) -> None:
    length = len(question.token_ids)
    if not 1 <= length <= context:
        raise InputError(
            f"a question has {length} tokens; accepted are 1 to {context}, what the context "
            "holds. Shorten it."
        )
    for target in question.targets:
        if not 1 <= len(target) <= length:
            raise InputError(
                f"a target has {len(target)} tokens, but its question has {length} to predict them "
                f"at; accepted are 1 to {length}. Put at least <bos> before it."
            )
