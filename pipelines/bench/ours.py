"""Our own engine and towers as contenders: `python -m pipelines.bench.ours JSON`."""

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

import torch

import gemma3n
from gemma3n.generate import Prompt
from gemma3n.matformer import NestedSize
from gemma3n.placement import Ple
from gemma3n.sampling import Sampling
from pipelines.bench.contender import Array, between, text, tower


class TokenTimes:
    """When the first row's tokens came: all rows take a step together."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def __call__(self, row: int, _: int) -> None:
        if row == 0:
            self.times.append(time.perf_counter())


class Text:
    """A text decoder, as jobs run it."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        torch.set_num_threads(wanted["threads"])
        self.model = gemma3n.load(
            wanted["checkpoint"],
            nested=NestedSize.from_skip(**wanted["nested"]),
            parts=["text"],
            precision=wanted["precision"],
            pack=wanted["pack"],
            compile=wanted["compile"],
            device="cpu",
            ple=Ple(**wanted["ple"]),
        )

    def logits(self, ids: list[int]) -> Array:
        found: Array = self.model.logits(torch.tensor([ids]))[0, -1].float().numpy()
        return found

    def prompt(self, ids: list[int]) -> None:
        self.model.complete([Prompt(ids)], Sampling(1, stop_ids=[]))

    def decode(self, prompts: list[list[int]], count: int) -> list[float]:
        token = TokenTimes()
        rows = [Prompt(ids) for ids in prompts]
        self.model.complete(rows, Sampling(count, stop_ids=[]), on_token=token)
        return between(token.times)


class Audio:
    """The audio tower; [frames, 128] of mel -> [tokens, width]."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.model = _towers(wanted, "audio")

    def encode(self, value: Array) -> Array:
        mel = torch.from_numpy(value)[None]
        found, _ = self.model.audio_features(mel, torch.ones(mel.shape[:2], dtype=torch.bool))
        array: Array = found[0].float().numpy()
        return array


class Vision:
    """The vision tower; [3, size, size] of pixels -> [channels, 16, 16]."""

    def __init__(self, wanted: Mapping[str, Any]) -> None:
        self.model = _towers(wanted, "vision")

    def encode(self, value: Array) -> Array:
        array: Array = self.model.image_features(torch.from_numpy(value)[None])[0].float().numpy()
        return array


def _towers(wanted: Mapping[str, Any], part: str) -> gemma3n.Gemma3n:
    torch.set_num_threads(wanted["threads"])
    model = gemma3n.load(
        wanted["checkpoint"],
        parts=[part],
        precision="bfloat16" if wanted["precision"] == "int8" else wanted["precision"],
        device="cpu",
        towers="int8" if wanted["precision"] == "int8" else "auto",
    )
    getattr(model, part)  # loads it
    return model


if __name__ == "__main__":
    match json.loads(sys.argv[1])["part"]:
        case "text":
            text(Text)
        case "audio":
            tower(Audio)
        case "vision":
            tower(Vision)
