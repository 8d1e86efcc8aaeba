"""A model's parts as programs of fixed shapes: tensors in, tensors out, no state of their own.

What a program needs of a sequence comes in and goes out: the decoder's keys and values, and the
rows of the PLE table, which stays where the host has it, as it does everywhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gemma3n.audio.conformer import Conformer
from gemma3n.config import FULL, SLIDING
from gemma3n.fuse import Embedder, image_sequence
from gemma3n.model import Gemma3n
from gemma3n.text.attention import KV
from gemma3n.text.cache import Step
from gemma3n.text.decoder import Decoder, Running
from gemma3n.text.ple import Traffic
from gemma3n.vision.mobilenet import MobileNet


def arguments(given: Sequence[Tensor]) -> dict[str, Any]:
    """Inputs as a program of LiteRT takes them: arrays, by the names that its converter gives."""
    return {f"args_{n}": tensor.numpy() for n, tensor in enumerate(given)}


@dataclass
class Program:
    """A module for one shape, and what one call of it is given and gives."""

    part: str  # text, vision or audio; programs of one part share their weights
    name: str
    module: nn.Module
    inputs: dict[str, Tensor]  # samples of the right shapes, in order
    outputs: list[str]  # names, in order

    @property
    def given(self) -> tuple[Tensor, ...]:
        """The samples alone."""
        return tuple(self.inputs.values())


class Vision(nn.Module):
    """Pixels [1, 3, size, size], 0..1 -> soft tokens [1, 256, hidden]."""

    def __init__(self, tower: MobileNet, embedder: Embedder) -> None:
        super().__init__()
        self.tower, self.embedder = tower, embedder

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode one image."""
        return self.embedder.soft(image_sequence(self.tower(pixels)))


class Audio(nn.Module):
    """Mel frames [1, frames, 128] and which are real -> soft tokens, and which of them are real."""

    def __init__(self, tower: Conformer, embedder: Embedder) -> None:
        super().__init__()
        self.tower, self.embedder = tower, embedder

    def forward(self, mels: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Encode one clip.

        Args:
            mels: [1, frames, bins], natural log; zeros where it is shorter.
            mask: bool [1, frames], True = real.

        Returns:
            Soft tokens [1, tokens, hidden] and bool [1, tokens].
        """
        features, real = self.tower(mels, mask, mask.sum(1))
        return self.embedder.soft(features), real


class Text(nn.Module):
    """A decoder pass over a cache of so many places, which goes in and comes out.

    Args:
        decoder: float32, without its PLE table.
        size: that runs.
        context: places of the cache; one more takes the padding.
    """

    def __init__(self, decoder: Decoder, size: Running, context: int) -> None:
        super().__init__()
        self.decoder, self.size, self.context = decoder, size, context

    @property
    def layers(self) -> tuple[int, ...]:
        """Those with keys and values of their own."""
        return self.size.own

    def forward(
        self, embeddings: Tensor, rows: Tensor, positions: Tensor, *cache: Tensor
    ) -> tuple[Tensor, ...]:
        """Run tokens at their positions.

        Args:
            embeddings: [1, seq, hidden], fused.
            rows: [1, seq, layers that run, ple], of the PLE table, in the order of the layers; row
                0 for soft tokens.
            positions: int32 [1, seq], ascending; `context` for padding.
            cache: keys, then values, of each layer that has its own:
                [1, context + 1, kv_heads, head_dim].

        Returns:
            Logits [1, seq, vocab], and the cache with the tokens in it.
        """
        held = _Held(self.context, dict(zip(self.layers, _pairs(cache), strict=True)))
        table = _Given(rows, tuple(self.size.widths))
        self.decoder.table = table
        nobody = torch.zeros(positions.shape, dtype=torch.int64)  # ids matter to the table alone
        hidden = self.decoder(nobody, embeddings, positions, cache=held, size=self.size)
        return self.decoder.logits(hidden), *(kv for pair in held.kv.values() for kv in pair)


class _Given:
    """A PLE table that has the rows of this pass and no others."""

    waits = False

    def __init__(self, rows: Tensor, layers: tuple[int, ...]) -> None:
        self.given, self.layers, self.traffic = rows, layers, Traffic()

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `gemma3n.text.ple.PleTable.rows`."""
        places = [self.layers.index(layer) for layer in layers]
        return self.given.flatten(0, 1)[:, places]

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `gemma3n.text.ple.PleTable.ahead`: they are here."""


class _Held:
    """A cache whose places are positions, changed by making new tensors; as `CachedRows`."""

    def __init__(self, context: int, kv: dict[int, KV]) -> None:
        self.context, self.kv = context, kv

    def begin(self, positions: Tensor) -> dict[str, Step]:
        """See `CachedRows.begin`."""
        places = torch.arange(self.context + 1)[None]
        step = Step(positions.long(), 0, self.context + 1, places)
        return {SLIDING: step, FULL: step}

    def update(self, layer: int, key: Tensor, value: Tensor, step: Step) -> KV:
        """See `CachedRows.update`."""
        keys, values = self.kv[layer]
        where = step.written[0]
        self.kv[layer] = (keys.index_copy(1, where, key), values.index_copy(1, where, value))
        return self.kv[layer]


def _pairs(cache: Sequence[Tensor]) -> list[KV]:
    return list(zip(cache[::2], cache[1::2], strict=True))


def vision_program(model: Gemma3n, side: int) -> Program:
    """The vision tower with its embedder, for images of one size."""
    module = Vision(model.vision, model.towers.embedder("vision"))
    pixels = torch.rand(1, 3, side, side)
    return Program("vision", f"pixels_{side}", module, {"pixels": pixels}, ["soft_tokens"])


def audio_program(model: Gemma3n, frames: int) -> Program:
    """The audio tower with its embedder, for clips of up to so many mel frames."""
    module = Audio(model.audio, model.towers.embedder("audio"))
    inputs = {
        "mels": torch.randn(1, frames, model.audio.config.input_feat_size),
        "mask": torch.ones(1, frames, dtype=torch.bool),
    }
    return Program("audio", f"frames_{frames}", module, inputs, ["soft_tokens", "mask"])


def text_program(model: Gemma3n, seq: int, context: int) -> Program:
    """The loaded size of the text decoder, for passes of so many tokens over so many places."""
    config = model.config.text
    module = Text(model.text, model.running(None), context)
    layers, ple = len(module.size.widths), config.hidden_size_per_layer_input
    shape = (1, context + 1, config.num_key_value_heads, config.head_dim)
    cache = [f"{what}_{layer}" for layer in module.layers for what in ("keys", "values")]
    inputs = {
        "embeddings": torch.randn(1, seq, config.hidden_size),
        "rows": torch.randn(1, seq, layers, ple),
        "positions": torch.arange(seq, dtype=torch.int32)[None],
        **{name: torch.zeros(shape) for name in cache},
    }
    name = "decode" if seq == 1 else f"prefill_{seq}"
    return Program("text", name, module, inputs, ["logits", *cache])
