"""Which nested sizes a joint step trains, and with which weights."""

import torch

from gemma3n.config import Config
from gemma3n.joint import Weighted
from gemma3n.matformer import NestedSize, resolve_size
from gemma3n.trainable import Trainable
from pipelines.settings import JointSettings


class NestedSizes:
    """The nested sizes of each joint step."""

    def __init__(self, model: Trainable, config: Config, joint: JointSettings, seed: int) -> None:
        self.decoder, self.text, self.joint, self.seed = model.text, config.text, joint, seed
        self.small = resolve_size("small", config)
        self.names = ["full", "small"] if self.small != NestedSize() else ["full"]

    def of(self, number: int) -> list[Weighted]:
        """Sizes and weights of the batch of that number."""
        sizes = [Weighted(self.decoder.full, self.joint.full)]
        if self.joint.small and len(self.names) > 1:
            small = self._random(number) if self.joint.random else self.small
            running = self.decoder.running(small.ffn_widths(self.text))
            sizes.append(Weighted(running, self.joint.small))
        return [one for one in sizes if one.weight]

    def _random(self, number: int) -> NestedSize:
        """Each layer's width, and whether a droppable one runs, of the small or the full size."""
        draws = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        small = self.small.ffn_widths(self.text)
        kept: dict[int, int] = {}
        for layer, full in enumerate(self.text.intermediate_size):
            if layer not in small and torch.rand((), generator=draws) < 0.5:
                continue
            wide = bool(torch.rand((), generator=draws) < 0.5)
            kept[layer] = full if wide or layer not in small else small[layer]
        skip = set(range(self.text.num_hidden_layers)) - set(kept)
        return NestedSize.from_skip(skip, kept.values(), "random")
