"""Logits -> the next token of each row, and how likely it was."""

import torch
from torch import Tensor

from gemma3n.sampling import Sampling


def logprobs_of(logits: Tensor, token_ids: Tensor) -> Tensor:
    """Natural log of each token's probability.

    Args:
        logits: float32 [..., vocab]
        token_ids: int64 [...]

    Returns:
        float32 [...]
    """
    chosen = logits.gather(-1, token_ids[..., None]).squeeze(-1)
    if logits.device.type != "cpu" or torch.is_grad_enabled():
        return chosen - logits.logsumexp(-1)
    # A row of logits stays in a core's cache from one operation to the next, all of them do not.
    rows = [row.logsumexp(-1) for row in logits.reshape(-1, logits.shape[-1])]
    return chosen - torch.stack(rows).view(chosen.shape) if rows else chosen


def sample(logits: Tensor, sampling: Sampling, draws: Tensor) -> Tensor:
    """Draw one token a row.

    Args:
        logits: float32 [rows, vocab]
        sampling: temperature above 0, top-k, top-p.
        draws: float32 [rows] in 0..1, each row's own random number.

    Returns:
        int64 [rows]
    """
    kept, ids = _kept(logits, sampling)
    return ids.gather(1, _place(kept, draws)).squeeze(1)


def distribution(logits: Tensor, sampling: Sampling) -> Tensor:
    """What `sample` draws from: probabilities [rows, vocab], zero for tokens that are cut."""
    kept, ids = _kept(logits, sampling)
    whole = torch.zeros_like(logits).scatter_(1, ids, kept)
    return whole / whole.sum(-1, keepdim=True)


def draw(weights: Tensor, draws: Tensor) -> Tensor:
    """Draw one token a row from weights [rows, vocab], none negative, that need not sum to 1."""
    ordered, ids = weights.sort(dim=-1, descending=True, stable=True)
    return ids.gather(1, _place(ordered, draws)).squeeze(1)


def _kept(logits: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor]:
    """Probabilities in falling order, zero where cut, and whose they are."""
    ordered, ids = (logits / sampling.temperature).sort(dim=-1, descending=True, stable=True)
    if sampling.top_k:
        ordered, ids = ordered[:, : sampling.top_k], ids[:, : sampling.top_k]
    probabilities = ordered.softmax(-1)
    before = probabilities.cumsum(-1) - probabilities  # what more likely tokens have together
    # The most likely token has 0 before it, so that at least one always stays.
    return probabilities * (before < sampling.top_p), ids


def _place(weights: Tensor, draws: Tensor) -> Tensor:
    """Where each draw falls among falling weights, int64 [rows, 1]; never on a weight of zero."""
    reached = weights.cumsum(-1)
    passed = (reached <= draws[:, None] * reached[:, -1:]).sum(-1, keepdim=True)
    # A draw of 1, or so near that rounding makes it that, falls on the last that has any weight.
    last = (reached < reached[:, -1:]).sum(-1, keepdim=True)
    return torch.minimum(passed, last)
