"""Two checkpoints of which one was trained from the other -> the weighed mean of their weights.

`python -m pipelines.nano.mean OLD NEW --weight 0.35 --out FOLDER`: what a leg of training learned
and what it forgot lie close enough for the mean to be better than either (arXiv 2203.05482).
"""

import argparse
from pathlib import Path

import torch

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.trainable import Trainable


@torch.no_grad()
def write_mean(old: Path, new: Path, weight: float, out: Path) -> None:
    """Write `(1 - weight) * old + weight * new`.

    Args:
        old: checkpoint folder; its vocabulary and settings go with the mean.
        new: checkpoint folder of the same config.
        weight: of `new`, 0..1.
        out: folder to write, replacing an earlier one there.

    Raises:
        SettingsError: the two differ in more than their weights.
    """
    config = Config.from_folder(old)
    if config.raw != Config.from_folder(new).raw:
        raise SettingsError(
            f"{old} and {new} have different settings (config.json); only checkpoints of one model "
            "have a mean."
        )
    mean, other = Trainable(config), Trainable(config)
    mean.load(Checkpoint(old))
    other.load(Checkpoint(new))
    for own, others in zip(mean.parameters(), other.parameters(), strict=True):
        own.lerp_(others, weight)
    mean.save(out, old)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("old", type=Path)
    words.add_argument("new", type=Path)
    words.add_argument("--weight", type=float, required=True, help="of the new one, 0..1")
    words.add_argument("--out", type=Path, required=True)
    asked = words.parse_args()
    write_mean(asked.old, asked.new, asked.weight, asked.out)


if __name__ == "__main__":
    main()
