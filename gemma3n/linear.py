"""The text decoder's linear maps: any run of outputs of any prefix of inputs, computed by a route.

A nested size uses the first rows of an FFN's gate and the first columns of its down projection, and
the projection of per-layer inputs the rows of the layers that run. How the product is computed is a
route's, which the loader may put in a weight's place.
"""

from typing import Protocol

from torch import Tensor, nn

from gemma3n.routes.single import product


class Route(Protocol):
    """A weight in some number format and layout, and the product with it."""

    def __call__(self, x: Tensor, rows: range | None = None) -> Tensor:
        """See `Linear.forward`."""
        ...

    @property
    def bytes(self) -> int:
        """Memory that the weight takes, its own or mapped."""
        ...


class Linear(nn.Linear):
    """A linear map without bias, of which a part may be used.

    Args:
        columns: inputs.
        rows: outputs.
        rounds: whether its weights may be rounded to int8 or int4.

    Attributes:
        route: computes the product; None is the plain product with `weight`.
    """

    def __init__(self, columns: int, rows: int, rounds: bool = True) -> None:
        super().__init__(columns, rows, bias=False)
        self.rounds = rounds
        self.route: Route | None = None

    def forward(self, x: Tensor, rows: range | None = None) -> Tensor:
        """Map `x`.

        Args:
            x: [..., n] of the first n inputs; the others count as zero.
            rows: consecutive outputs that are wanted, None for all.

        Returns:
            [..., outputs]
        """
        return self.product(x, rows) if self.route is None else self.route(x, rows)

    def product(self, x: Tensor, rows: range | None = None) -> Tensor:
        """The plain product with `weight`, see `forward`."""
        weight = self.weight if rows is None else self.weight[rows.start : rows.stop]
        return product(x, weight if x.shape[-1] == self.in_features else weight[:, : x.shape[-1]])


class TiedEmbedding(nn.Embedding):
    """A table of embeddings whose rows are the output head as well.

    Attributes:
        route: of the head; None is the plain product with the table.
    """

    def __init__(self, rows: int, columns: int) -> None:
        super().__init__(rows, columns)
        self.route: Route | None = None

    def project(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., columns] -> one number a row of the table, [..., rows]."""
        return product(hidden, self.weight) if self.route is None else self.route(hidden)
