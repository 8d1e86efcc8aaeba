from typing import Any

import pytest
import torch
from torch.nn import functional as F

from gemma3n.routes.single import is_single, product, summed


@pytest.mark.parametrize(
    ("shape", "single"),
    [((1, 1, 8), True), ((8,), True), ((1, 2, 8), False), ((3, 1, 8), False), ((0, 8), False)],
)
def test_a_single_token(shape: tuple[int, ...], single: bool) -> None:
    assert is_single(torch.ones(shape)) == single


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [1, 3])
def test_products_in_a_graph_are_those_outside(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, rows: int
) -> None:
    seeded = torch.Generator().manual_seed(0)
    weight = torch.randn(24, 64, generator=seeded).to(dtype)
    x = torch.randn(rows, 1, 64, generator=seeded).to(dtype)
    taken: list[int] = []

    def noted(*given: Any) -> Any:
        taken.append(rows)
        return summed(*given)

    monkeypatch.setattr("gemma3n.routes.single.summed", noted)
    assert torch.equal(product(x, weight), F.linear(x, weight))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    found, expected = product(x, weight), F.linear(x.double(), weight.double())
    assert (found.shape, found.dtype) == (expected.shape, dtype)
    torch.testing.assert_close(found.double(), expected, rtol=2 * torch.finfo(dtype).eps, atol=1e-5)
    assert taken == ([1] if rows == 1 else [])  # in a graph, and for a single token


def test_part_of_a_weight_of_bytes() -> None:
    weight = torch.arange(-60, 60, dtype=torch.int8).view(12, 10)[2:9, :6]
    x = torch.arange(6.0).view(1, 1, 6)
    assert torch.equal(summed(weight, x), F.linear(x, weight.float()))


@pytest.mark.parametrize("columns", [12, 13])  # whole stretches, and none that would be
def test_long_rows_are_summed_in_stretches(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.setattr("gemma3n.routes.single._STRETCH", 4)
    weight = torch.arange(-58, 59, dtype=torch.int8)[: 9 * columns].view(9, columns)
    x = torch.arange(float(columns)).view(1, 1, columns)
    assert torch.equal(summed(weight, x), F.linear(x, weight.float()))
