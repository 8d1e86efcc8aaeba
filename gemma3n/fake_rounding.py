"""QAT: the decoder acts in training as it will with int8 or int4 weights (arXiv 1712.05877).

Weights and activations are rounded and brought back at once; gradients pass the rounding as if it
was not there (straight-through, arXiv 1308.3432). Ranges are taken anew in every step, as the
routes take them when they load, so that the result computes with those what it computed here.
"""

from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.linear import Linear, TiedEmbedding
from gemma3n.matformer import FULL_SIZE, ffn_borders
from gemma3n.rounded import fits_int4
from gemma3n.rounding import from_int4, from_int8, to_int4, to_int8
from gemma3n.routes.int8 import rounded_tokens
from gemma3n.text.decoder import Decoder
from gemma3n.text.packing import Packing


def round_in_training(decoder: Decoder, config: Config, weights: Precision) -> None:
    """Let the decoder's linear maps act as the routes of a precision.

    Args:
        decoder: of all layers and widths.
        config: of its checkpoint, whose nested sizes say where int8 scales of an FFN end.
        weights: int8 or int4.
    """
    borders = ffn_borders(config, FULL_SIZE)
    decoder.embed_tokens.route = FakeRounded(decoder.embed_tokens, Precision.int8)
    for name, module in decoder.named_modules():
        if isinstance(module, Linear) and module.rounds:
            ends = borders[int(name.split(".")[1])] if name.endswith("mlp.down_proj") else None
            int4 = weights is Precision.int4 and fits_int4(module.in_features)
            precision = Precision.int4 if int4 else Precision.int8
            module.route = FakeRounded(module, precision, ends)


class FakeRounded:
    """A linear map whose weight is rounded for each product; a `Route`.

    Args:
        module: that holds the weight [rows, columns].
        weights: int8, with activations rounded token by token, or int4, which are left as they are.
        ends: of int8, columns at which blocks with scales of their own end; by default one block.
    """

    def __init__(
        self, module: Linear | TiedEmbedding, weights: Precision, ends: list[int] | None = None
    ) -> None:
        self.module, self.weights = module, weights
        self.ends = ends or [module.weight.shape[1]]

    @property
    def shape(self) -> tuple[int, int]:
        """Outputs and inputs of the map."""
        return self.module.weight.shape[0], self.module.weight.shape[1]

    @property
    def bytes(self) -> int:
        """None of its own: the module holds the weight."""
        return 0

    def __call__(self, x: Tensor, rows: range | None = None) -> Tensor:
        """See `gemma3n.linear.Linear.forward`."""
        weight = self.module.weight
        weight = weight if rows is None else weight[rows.start : rows.stop]
        if self.weights is Precision.int4:
            return F.linear(x, passed(weight, _int4(weight.detach()))[:, : x.shape[-1]])
        products = []
        for start, end in pairwise([0, *self.ends]):
            if start < x.shape[-1]:
                part, block = x[..., start:end], weight[:, start:end]
                rounded = passed(block, from_int8(*to_int8(block.detach())))
                tokens = passed(part, _tokens(part.detach()))
                products.append(F.linear(tokens, rounded[:, : part.shape[-1]]))
        return torch.stack(products).sum(0) if len(products) > 1 else products[0]


def passed(exact: Tensor, rounded: Tensor) -> Tensor:
    """`rounded`, with the gradient of `exact`."""
    return exact + (rounded - exact).detach()


def rounded_rows(rows: Tensor, packing: Packing) -> Tensor:
    """PLE rows [..., ple] as they come out of a packed table, with gradients of their own."""
    return passed(rows, packing.unpack(packing.pack(rows.detach())).to(rows.dtype))


def _int4(weight: Tensor) -> Tensor:
    return from_int4(*to_int4(weight), weight.dtype)


def _tokens(x: Tensor) -> Tensor:
    rounded, scale = rounded_tokens(x.reshape(-1, x.shape[-1]))
    return (rounded.float() * scale).view_as(x).to(x.dtype)
