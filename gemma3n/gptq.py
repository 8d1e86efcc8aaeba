"""int4 weights rounded so that their maps' outputs change least: GPTQ (arXiv 2210.17323).

Inputs are rounded one after the other; what one loses is made up for by those that are not rounded
yet, as far as the inputs of real text go with one another.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from gemma3n.linear import Linear
from gemma3n.rounded import GROUP
from gemma3n.rounding import MIDDLE, int4_range, int4_units, packed_pairs
from gemma3n.text.decoder import Decoder

_DAMPING = 0.01  # of the mean power of the inputs, added to each, so that none is taken for sure


def rounder(power: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]:
    """What rounds as `to_int4` does, but for inputs of known power.

    Args:
        power: float32 [columns, columns], the sum of x xᵀ over inputs x; see `Powers`.

    Returns:
        A function of a weight [rows, columns].
    """
    return partial(_round, follow=_inverse_root(power))


def _round(weight: Tensor, follow: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `to_int4`.

    Args:
        weight: [rows, columns]
        follow: [columns, columns], how much what one column loses changes each later one.
    """
    left = weight.float().clone()
    units = torch.empty(left.shape, dtype=torch.uint8)
    scales, zeros = [], []
    for start in range(0, left.shape[1], GROUP):
        group = left[:, start : start + GROUP]
        scale, zero = int4_range(group)
        lost = torch.empty_like(group)
        for at in range(GROUP):
            column = start + at
            unit = int4_units(group[:, at], scale, zero)
            units[:, column] = unit.to(torch.uint8)
            back = (unit - MIDDLE) * scale.float() + zero.float()
            lost[:, at] = (group[:, at] - back) / follow[column, column]
            group[:, at:] -= lost[:, at, None] * follow[column, column : start + GROUP]
        left[:, start + GROUP :] -= lost @ follow[start : start + GROUP, start + GROUP :]
        scales.append(scale)
        zeros.append(zero)
    return packed_pairs(units), torch.stack(scales, 1), torch.stack(zeros, 1)


class Powers:
    """The power of the inputs of a decoder's linear maps, over rows that it is shown.

    Matrices of [columns, columns] are large: they are taken for a few maps at a time, in the order
    in which they are asked for, each time showing all rows again.

    Args:
        decoder: in float32.
        show: passes all rows through it.
        names: of the weights that will be asked for (ours), in that order.
        room: bytes of matrices to hold at once.
    """

    def __init__(
        self, decoder: Decoder, show: Callable[[], None], names: Iterable[str], room: int
    ) -> None:
        self.decoder, self.show, self.room = decoder, show, room
        self.names = list(names)
        self.held: dict[str, Tensor] = {}

    def of(self, name: str) -> Tensor:
        """The power of a map's inputs, float32 [columns, columns]; asked for once."""
        if name not in self.held:
            self._take(self.names[self.names.index(name) :])
        return self.held.pop(name)

    def _take(self, names: list[str]) -> None:
        self.held = {}
        maps: dict[str, Linear] = {}
        for name in names:
            linear = self.decoder.get_submodule(name.removeprefix("text.").removesuffix(".weight"))
            assert isinstance(linear, Linear)
            held = sum(power.nbytes for power in self.held.values())
            if self.held and held + 4 * linear.in_features**2 > self.room:
                break
            maps[name] = linear
            self.held[name] = torch.zeros(linear.in_features, linear.in_features)
        with self._watching(maps), torch.no_grad():
            self.show()

    @contextmanager
    def _watching(self, maps: dict[str, Linear]) -> Iterator[None]:
        hooks: list[RemovableHandle] = []
        for name, linear in maps.items():
            hooks.append(linear.register_forward_pre_hook(self._watch(self.held[name])))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    @staticmethod
    def _watch(power: Tensor) -> Callable[[torch.nn.Module, tuple[Tensor, ...]], None]:
        def add(_: torch.nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].flatten(0, -2).float()
            width = x.shape[1]  # a nested size gives the first inputs only
            power[:width, :width].addmm_(x.T, x)

        return add


def _inverse_root(power: Tensor) -> Tensor:
    """Upper triangular U, UᵀU the inverse of the damped power: how what is lost is passed on."""
    damped = power.double().clone()
    diagonal = damped.diagonal()
    unseen = diagonal == 0  # inputs that are never there matter to nobody
    diagonal += _DAMPING * float(diagonal.mean()) + unseen
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float()
