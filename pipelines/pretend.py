"""Stages that take a model's time and make columns of its size, and compute nothing.

They show what the executor itself costs and how far it scales, on a machine without the GPUs.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from pipelines.path import PLUGINS
from stages.model import Load
from stages.row import F32, Row, Stage

# A soft token of E4B is 2048 numbers in bfloat16, which are as many bytes as half of them in
# float32.
WIDTH = 1024
_DIST = "gemma3n_pretend-1.dist-info"


@dataclass
class PretendSettings:
    """Nothing: each row says in its prompt how long it takes and how large it gets."""


class Pretend(Stage):
    """Sleeps as long as rows say: `seconds of encoding, of decoding, number of soft tokens`."""

    settings_type = PretendSettings
    place: ClassVar[int]  # of its seconds in the prompt

    def __init__(self, settings: PretendSettings, load: Load) -> None:
        """Nothing is loaded."""

    def wait(self, rows: list[Row]) -> None:
        """Take the time of a batch, whatever its size: that of its first row."""
        time.sleep(float(_asked(rows[0])[self.place]) if rows else 0)


class PretendEncode(Pretend):
    """A clip to soft tokens."""

    adds = ("pretended",)
    types: ClassVar[dict[str, Any]] = {"pretended": F32}
    place = 0

    def __call__(self, rows: list[Row]) -> list[Row]:
        """See `Stage`."""
        self.wait(rows)
        for row in rows:
            tokens = int(_asked(row)[2])
            row["pretended"] = np.zeros((tokens, WIDTH), np.float32)  # type: ignore[typeddict-unknown-key]
        return rows


class PretendDecode(Pretend):
    """Soft tokens to a text."""

    reads = ("pretended",)
    adds = ("text",)
    drops = ("pretended",)
    place = 1

    def __call__(self, rows: list[Row]) -> list[Row]:
        """See `Stage`."""
        self.wait(rows)
        for row in rows:
            del row["pretended"]  # type: ignore[typeddict-item]
            row["text"], row["new_tokens"] = "pretended", 1
        return rows


class PretendText(Pretend):
    """A light row to a text, at once."""

    adds = ("text",)
    place = 1

    def __call__(self, rows: list[Row]) -> list[Row]:
        """See `Stage`."""
        for row in rows:
            row["text"], row["new_tokens"] = "pretended", 1
        return rows


def _asked(row: Row) -> list[str]:
    return (row["prompt"] or "").split()


def installed(folder: Path) -> Path:
    """Make the stages known to processes that have a folder on their PYTHONPATH.

    Args:
        folder: where their entry points go.

    Returns:
        The folder.
    """
    info = folder / _DIST
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gemma3n-pretend\nVersion: 1\n")
    names = {"encode": PretendEncode, "decode": PretendDecode, "text": PretendText}
    lines = [f"pretend_{name} = {__name__}:{kind.__name__}" for name, kind in names.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{PLUGINS}]", *lines, ""]))
    return folder
