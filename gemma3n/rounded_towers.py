"""A tower's large linear maps in int8, activations rounded token by token.

Depthwise convs, attention, norms and small maps stay as they are: they are little of a tower's
arithmetic, and more of what its features are made of.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from gemma3n.heap import give_back
from gemma3n.rounded import is_tower_map
from gemma3n.rounding import to_int8
from gemma3n.routes.int8 import Int8
from gemma3n.vision.layers import Pointwise


class RoundedMap(nn.Module):
    """A linear map without bias, computed in int8.

    Args:
        weight: [outputs, inputs], or of a 1x1 conv [outputs, inputs, 1, 1].
    """

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.route = Int8(*to_int8(weight.flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs], of the same dtype."""
        return self.route(x)


@torch.no_grad()
def round_maps(tower: nn.Module, weight: Callable[[str], Tensor]) -> None:
    """Put int8 products in the place of a tower's large linear maps.

    Each is finished before the next is begun, so that no more than one weight is held besides.

    Args:
        tower: whose maps' own weights, if it has any, go.
        weight: brings one by its name in the tower.
    """
    for path, module in list(tower.named_modules()):
        for name, child in list(module.named_children()):
            is_map = isinstance(child, Pointwise) or (
                isinstance(child, nn.Linear) and child.bias is None
            )
            if is_map and is_tower_map(tuple(child.weight.shape)):
                whole = ".".join(filter(None, (path, name, "weight")))
                setattr(module, name, RoundedMap(weight(whole)))
                give_back()
