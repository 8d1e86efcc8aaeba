"""Which weights change, how fast, and by whose gradients."""

import math
from collections.abc import Collection

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gemma3n.trainable import Trainable
from pipelines.settings import Part, RateSettings, Trains

Tensors = tuple[Tensor, ...] | list[Tensor]


def choose_trained(model: Trainable, trains: Trains, frozen: Collection[Part] = ()) -> None:
    """Freeze all parts of the model that this run does not train.

    Args:
        model: its parts.
        trains: what may change.
        frozen: parts of that which may not; a frozen tower's embedder still does.
    """
    embedders = ("embed_vision", "embed_audio")
    parts = {
        Trains.all: ("text", "vision", "audio", *embedders),
        Trains.projection: embedders,
        Trains.towers: ("vision", "audio", *embedders),
        Trains.text: ("text",),
        Trains.lora: (),
    }[trains]
    changing = set(parts) - {part.value for part in frozen}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in changing)


def learning_rate(step: int, steps: int, rate: RateSettings) -> float:
    """Linear warm-up, then half a cosine down to the final share."""
    if step < rate.warmup:
        return rate.peak * (step + 1) / rate.warmup
    done = min(1.0, (step - rate.warmup) / max(1, steps - rate.warmup))
    return rate.peak * (rate.final + (1 - rate.final) * (1 + math.cos(math.pi * done)) / 2)


def make_optimizer(modules: nn.Module, rate: RateSettings) -> torch.optim.AdamW:
    """AdamW over all that trains; gains and biases do not decay."""
    trained = [p for p in modules.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() > 1], "weight_decay": rate.weight_decay},
        {"params": [p for p in trained if p.dim() <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate.peak, betas=(0.9, 0.98), foreach=True)


def running_mean(modules: nn.Module, keep: float) -> AveragedModel:
    """A copy whose weights follow those in training as an exponential mean (arXiv 1803.05407).

    Args:
        modules: in training.
        keep: share of the earlier mean that a step keeps, less in the first steps.
    """

    def follow(means: Tensors, weights: Tensors, count: Tensor | int) -> None:
        kept = min(keep, (1 + int(count)) / (10 + int(count)))
        torch._foreach_lerp_(means, weights, 1 - kept)

    mean = AveragedModel(modules, multi_avg_fn=follow)
    return mean.requires_grad_(False)


def average_gradients(parameters: list[nn.Parameter], world: int) -> None:
    """Replace every gradient by its mean over the processes.

    A parameter that one process did not use counts there as a gradient of zero; one that none used
    keeps having none.
    """
    device = parameters[0].device
    used = torch.tensor([p.grad is not None for p in parameters], dtype=torch.uint8, device=device)
    dist.all_reduce(used, dist.ReduceOp.MAX)
    some = [p for p, is_used in zip(parameters, used.tolist(), strict=True) if is_used]
    if not some:
        return
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in some]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    for p, mean in zip(some, flat.split([p.numel() for p in some]), strict=True):
        p.grad = mean.view_as(p)
