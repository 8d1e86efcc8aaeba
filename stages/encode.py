"""Mel spectrograms and pixels -> soft tokens."""

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from gemma3n.choices import TowerPrecision
from stages.model import Load, shared_model
from stages.row import F32, U8, Row, Stage
from stages.setting import setting

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class EncodeSettings:
    """How the towers compute."""

    precision: TowerPrecision = setting(
        TowerPrecision.auto,
        "of the towers' large linear maps: auto is bfloat16 where that is native; int8 rounds them",
    )


class Encode(Stage):
    """Runs a tower once over all clips, and once over all pictures of one size, of a batch."""

    settings_type = EncodeSettings
    takes = ("mels", "pixels")
    adds = ("audio_tokens", "image_tokens")
    drops = ("mels", "pixels")

    def __init__(self, settings: EncodeSettings, load: Load) -> None:
        self.model = shared_model(load)

    def __call__(self, rows: list[Row]) -> list[Row]:
        mels = [row.pop("mels", []) for row in rows]
        pixels = [row.pop("pixels", []) for row in rows]
        clips = iter(self._encode_audio([mel for own in mels for mel in own]))
        images = iter(self._encode_images([image for own in pixels for image in own]))
        for row, own_mels, own_pixels in zip(rows, mels, pixels, strict=True):
            row["audio_tokens"] = list(islice(clips, len(own_mels)))
            row["image_tokens"] = list(islice(images, len(own_pixels)))
        return rows

    def _encode_audio(self, mels: list[F32]) -> "list[Tensor]":
        import torch

        return self.model.encode_audio([torch.from_numpy(mel) for mel in mels]) if mels else []

    def _encode_images(self, pixels: list[U8]) -> "list[Tensor]":
        import torch

        sizes: dict[tuple[int, ...], list[int]] = {}  # rows of other tasks have other sizes
        for place, image in enumerate(pixels):
            sizes.setdefault(image.shape, []).append(place)
        tokens: dict[int, Tensor] = {}
        for places in sizes.values():
            same = torch.from_numpy(np.stack([pixels[place] for place in places]))
            tokens.update(zip(places, self.model.encode_images(same), strict=True))
        return [tokens[place] for place in range(len(pixels))]
