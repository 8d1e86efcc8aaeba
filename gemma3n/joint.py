"""Loss over several nested sizes at once: MatFormer's joint training (arXiv 2310.07707, §3.3).

Every size runs on the same fused embeddings, so that encoders are passed once; gradients of all of
them meet in the shared weights, and units that only a larger size has get only its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from gemma3n.text.decoder import Decoder, Running


@dataclass(frozen=True)
class Weighted:
    """One nested size of a joint step."""

    size: Running
    weight: float


def joint_loss(
    decoder: Decoder,
    token_ids: Tensor,
    embeddings: Tensor,
    positions: Tensor,
    answers: Tensor,
    sizes: Sequence[Weighted],
    targets: Tensor | None = None,
    row_of: Tensor | None = None,
) -> Tensor:
    """Cross-entropy of the answers, summed over sizes by weight.

    Args:
        decoder: text decoder.
        token_ids: int64 [batch, seq], prompts and answers.
        embeddings: [batch, seq, hidden], fused.
        positions: int64 [batch, seq], -1 for padding.
        answers: bool [batch, seq], True at the tokens that the model should say.
        sizes: nested sizes and their weights.
        targets: int64 [batch, seq], what should be said, where `token_ids` differ from it.
        row_of: int64 [batch, seq], where rows share a sequence, see `Decoder.forward`; none begins
            with an answer.

    Returns:
        A scalar: each size's mean over answer tokens, in nats, times its weight, summed.
    """
    # The token at t is said by the hidden state at t - 1; what all rows only ask needs no more
    # than keys and values.
    seq = token_ids.shape[1]
    first = first_answer(answers)
    right = token_ids if targets is None else targets
    said, right = answers[:, first:], right[:, first:][answers[:, first:]]
    losses = []
    for one in sizes:
        last = seq - first + 1
        run = {"size": one.size, "last": last, "row_of": row_of}
        hidden = decoder(token_ids, embeddings, positions, **run)[:, :-1]
        logits = decoder.logits(hidden[said]).float()
        losses.append(one.weight * F.cross_entropy(logits, right))
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


def first_answer(answers: Tensor) -> int:
    """Where the first answer of bool [batch, seq] begins."""
    return int(answers.any(0).nonzero()[0])
