"""Which weights change, how fast, and by whose gradients."""

import math

import torch
import torch.distributed as dist
from torch import nn

from gemma3n.trainable import Trainable
from pipelines.settings import RateSettings, Trains


def choose_trained(model: Trainable, trains: Trains) -> None:
    """Freeze all parts of the model that this run does not train."""
    embedders = ("embed_vision", "embed_audio")
    parts = {
        Trains.all: ("text", "vision", "audio", *embedders),
        Trains.projection: embedders,
        Trains.towers: ("vision", "audio", *embedders),
        Trains.text: ("text",),
    }[trains]
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.split(".")[0] in parts)


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


def average_gradients(parameters: list[nn.Parameter], world: int) -> None:
    """Replace every gradient by its mean over the processes.

    A parameter that one process did not use counts there as a gradient of zero.
    """
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    for p, mean in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = mean.view_as(p)
