"""A tower's large linear maps in int8, activations rounded token by token.

Depthwise convs, attention, norms and small maps stay as they are: they are little of a tower's
arithmetic, and more of what its features are made of.
"""

import torch
from torch import Tensor, nn

from gemma3n.rounding import to_int8
from gemma3n.routes.int8 import Int8
from gemma3n.vision.layers import Pointwise

_LEAST = 512  # inputs and outputs: products with less gain nothing


class RoundedMap(nn.Module):
    """A linear map without bias, computed in int8.

    Args:
        weight: [outputs, inputs], or of a 1x1 conv [outputs, inputs, 1, 1].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.block = Int8(*to_int8(weight.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs], of the same dtype."""
        return self.block(x)


@torch.no_grad()
def round_maps(tower: nn.Module) -> None:
    """Put int8 products in the place of a tower's large linear maps; their weights go."""
    for module in list(tower.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Pointwise) or (
                isinstance(child, nn.Linear) and child.bias is None
            ):
                weight = child.weight
                if min(weight.shape[:2]) >= _LEAST:
                    setattr(module, name, RoundedMap(weight))
