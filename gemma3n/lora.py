"""LoRA: a linear map and beside it a product of two thin ones, which alone is trained.

arXiv 2106.09685. The additions belong to the largest size; a nested one uses the prefixes that it
uses of the map itself, so that one adapter serves every size.
"""

import math
from collections.abc import Collection, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.adapter_config import AdapterConfig
from gemma3n.errors import SettingsError
from gemma3n.linear import Linear
from gemma3n.rounded import is_map
from gemma3n.text.decoder import Decoder


class LowRank(nn.Module):
    """What is added to one linear map: `scale * up @ down`.

    Args:
        down: [rank, inputs]
        up: [outputs, rank]
        scale: of the product.
        dropout: share of the inputs that training leaves out.
    """

    def __init__(self, down: Tensor, up: Tensor, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)
        self.scale, self.dropout = scale, dropout

    @property
    def shape(self) -> tuple[int, int]:
        """Of the map: outputs, inputs."""
        return self.up.shape[0], self.down.shape[1]

    def forward(self, x: Tensor, rows: range | None = None) -> Tensor:
        """See `Linear.forward`."""
        down = self.down[:, : x.shape[-1]].to(x.dtype)
        up = self.up if rows is None else self.up[rows.start : rows.stop]
        low = F.linear(F.dropout(x, self.dropout, self.training), down)
        return F.linear(low, up.to(x.dtype)) * self.scale

    def delta(self, rows: slice = slice(None)) -> Tensor:
        """The product, float32 [outputs, inputs], or rows of it."""
        return self.up[rows].float() @ self.down.float() * self.scale


class Adapted:
    """A linear map with its addition; a `Route`, around the one that the map had."""

    def __init__(self, linear: Linear, low: LowRank) -> None:
        self.linear, self.low, self.inner = linear, low, linear.route

    def __call__(self, x: Tensor, rows: range | None = None) -> Tensor:
        """See `Linear.forward`."""
        plain = self.linear.product(x, rows) if self.inner is None else self.inner(x, rows)
        return plain + self.low(x, rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of the map."""
        return self.linear.out_features, self.linear.in_features

    @property
    def bytes(self) -> int:
        """Of the addition, and of what the map's own route holds."""
        own = sum(p.nbytes for p in self.low.parameters())
        return own + (0 if self.inner is None else self.inner.bytes)


class Adapter(nn.Module):
    """The additions to the maps of one decoder.

    Args:
        low: by the decoder's name of the map, such as `layers.0.self_attn.q_proj`.
    """

    def __init__(self, low: dict[str, LowRank]) -> None:
        super().__init__()
        # A module's name may not hold a dot.
        self.low = nn.ModuleDict({name.replace(".", "/"): one for name, one in low.items()})

    def named(self) -> Iterator[tuple[str, LowRank]]:
        """Each addition with the decoder's name of its map."""
        for name, one in self.low.items():
            assert isinstance(one, LowRank)
            yield name.replace("/", "."), one

    def attach(self, decoder: Decoder) -> None:
        """Let the decoder's maps add theirs; it may hold fewer layers and narrower FFNs."""
        for name, low in self.named():
            try:
                linear = decoder.get_submodule(name)
            except AttributeError:  # a layer that this size leaves out
                continue
            assert isinstance(linear, Linear)
            held = low
            if low.shape != (linear.out_features, linear.in_features):
                down = low.down[:, : linear.in_features].detach()
                held = LowRank(down, low.up[: linear.out_features].detach(), low.scale)
            linear.route = Adapted(linear, held)


def new_adapter(
    decoder: Decoder,
    config: AdapterConfig,
    targets: Collection[str],
    dropout: float = 0.0,
    seed: int = 0,
) -> Adapter:
    """An adapter that adds nothing yet.

    Args:
        decoder: of the largest size.
        config: rank and scale of each product.
        targets: last words of the names of maps, such as q_proj.
        dropout: see `LowRank`.
        seed: of the first weights.

    Raises:
        SettingsError: a target that the decoder does not have.
    """
    maps = {
        name: module
        for name, module in decoder.named_modules()
        if isinstance(module, Linear) and is_map(f"text.{name}.weight")
    }
    words = {name.rpartition(".")[2] for name in maps}
    known = {word for word in words if not word.isdigit()}  # of a list's members
    if strange := sorted(set(targets) - known):
        raise SettingsError(
            f"lora.targets={','.join(strange)}; accepted are {', '.join(sorted(known))}. "
            "Correct the name."
        )
    generator = torch.Generator().manual_seed(seed)
    low = {}
    for name, linear in maps.items():
        if name.rpartition(".")[2] in targets:
            down = torch.empty(config.rank, linear.in_features)
            bound = 1 / math.sqrt(linear.in_features)
            down.uniform_(-bound, bound, generator=generator)
            up = torch.zeros(linear.out_features, config.rank)
            low[name] = LowRank(down, up, config.scale, dropout)
    return Adapter(low)
