"""What this machine's memory gives: the limit of whatever reads its weights once a token."""

import json
import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch

from pipelines.bench.cost import seconds

VALUES = 1 << 27  # float32 values that are read


def read_limit() -> float:
    """GB/s that all threads together read: the best of three ways of going through memory."""
    first, second = torch.ones(VALUES), torch.ones(VALUES)
    matrix, vector = first.view(-1, 2048), second[:2048]
    ways: list[tuple[Callable[[], object], int]] = [
        (lambda: torch.dot(first, second), first.nbytes + second.nbytes),
        (lambda: torch.mv(matrix, vector), first.nbytes),
        (first.sum, first.nbytes),
    ]
    return max(size / min(seconds(way) for _ in range(5)) / 1e9 for way, size in ways)


def measure(_: Mapping[str, Any]) -> dict[str, float]:
    """The limit, for a process that has nothing else in its memory."""
    return {"memory read, GB/s": read_limit()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
