"""Which nested sizes a joint step trains, and with which weights."""

import torch

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.joint import Weighted
from gemma3n.matformer import NestedSize, resolve_size
from gemma3n.trainable import Trainable
from pipelines.settings import JointSettings


class NestedSizes:
    """The nested sizes of each joint step.

    Raises:
        SettingsError: none has weight.
    """

    def __init__(self, model: Trainable, config: Config, joint: JointSettings, seed: int) -> None:
        self.decoder, self.text, self.joint, self.seed = model.text, config.text, joint, seed
        self.small = resolve_size("small", config)
        self.names = ["full", "small"] if self.small != NestedSize() else ["full"]
        if not self.of(0):
            raise SettingsError(
                f"joint.full={joint.full} and joint.small={joint.small}, and the checkpoint knows "
                f"{' and '.join(self.names)}: nothing is left to train. Give one of them weight."
            )

    def of(self, number: int) -> list[Weighted]:
        """Sizes and weights of the batch of that number."""
        sizes = [Weighted(self.decoder.full, self.joint.full)]
        if self.joint.small and len(self.names) > 1:
            small = self._drawn(number)
            running = self.decoder.running(small.ffn_widths(self.text))
            sizes.append(Weighted(running, self.joint.small))
        return [one for one in sizes if one.weight]

    def _drawn(self, number: int) -> NestedSize:
        """Small, or one between: each layer's width, and whether a droppable one runs, is drawn."""
        draws = torch.Generator().manual_seed(self.seed * 1_000_003 + number)
        if torch.rand((), generator=draws) >= self.joint.random:
            return self.small
        small = self.small.ffn_widths(self.text)
        kept: dict[int, int] = {}
        for layer, full in enumerate(self.text.intermediate_size):
            if layer not in small and torch.rand((), generator=draws) < 0.5:
                continue
            wide = bool(torch.rand((), generator=draws) < 0.5)
            kept[layer] = full if wide or layer not in small else small[layer]
        skip = set(range(self.text.num_hidden_layers)) - set(kept)
        return NestedSize.from_skip(skip, kept.values(), "random")
