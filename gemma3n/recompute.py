"""Activations that backward computes again, and that are not kept until then (1604.06174)."""

from collections.abc import Callable
from typing import TypeVar

import torch
from torch.utils.checkpoint import checkpoint

Made = TypeVar("Made")


def run(block: Callable[..., Made], recompute: bool, *inputs: object) -> Made:
    """What a block makes of its inputs, the same either way.

    Args:
        block: whose draws, if it has dropout, are the same when it is computed again.
        recompute: if there are gradients to come, keep only the inputs.
        inputs: of the block.
    """
    if recompute and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)
    return block(*inputs)
