import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gemma3n.rounded import GROUP
from gemma3n.rounding import from_int4, to_int4
from gemma3n.routes import int4
from gemma3n.routes.int4 import FEW, SOME, Int4

needs_kernel = pytest.mark.skipif(not int4.is_available(), reason="this torch has no int4 kernel")


def error(found: Tensor, exact: Tensor) -> float:
    return float((found - exact).norm() / exact.norm())


@needs_kernel
@given(
    rows=st.sampled_from([16, 64, 80, 192]),
    groups=st.integers(1, 3),
    tokens=st.sampled_from([1, FEW, FEW + 1, SOME, SOME + 1]),
    copy=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.bfloat16]),
)
def test_every_number_of_rows_gives_the_product_with_the_same_weight(
    rows: int, groups: int, tokens: int, copy: bool, dtype: torch.dtype
) -> None:
    parts = to_int4(torch.randn(rows, groups * GROUP))
    x = torch.randn(1, tokens, groups * GROUP).to(dtype)
    found = Int4(*parts, copy)(x)
    assert found.dtype == dtype
    assert found.shape == (1, tokens, rows)
    assert error(found.float(), F.linear(x.float(), from_int4(*parts, torch.float32))) < 0.03


@needs_kernel
def test_rows_that_the_kernel_does_not_take_are_computed_without_it() -> None:
    parts = to_int4(torch.randn(7, GROUP))
    x = torch.randn(2, GROUP)
    found = Int4(*parts, copy=False)(x)
    torch.testing.assert_close(found, F.linear(x, from_int4(*parts, torch.float32)))


def test_without_the_private_operators_the_weight_is_brought_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    parts, x = to_int4(torch.randn(48, 2 * GROUP)), torch.randn(2, 2 * GROUP)
    usual = Int4(*parts, copy=False)(x)
    int4.is_available.cache_clear()
    monkeypatch.setattr(torch.ops, "aten", object())
    assert not int4.is_available()
    fallback = Int4(*parts, copy=False)(x)
    int4.is_available.cache_clear()
    torch.testing.assert_close(fallback, F.linear(x, from_int4(*parts, torch.float32)))
    assert error(usual, fallback) < 0.03


@pytest.mark.parametrize("rows", [7, 256])
def test_pieces_are_put_together_in_order(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    parts, x = to_int4(torch.randn(rows, GROUP)), torch.randn(SOME + 1, GROUP)
    whole = Int4(*parts, copy=False)(x)
    monkeypatch.setattr(int4, "_PIECE", 2 * GROUP)
    torch.testing.assert_close(Int4(*parts, copy=False)(x), whole)


def test_an_unknown_layout_of_the_kernel_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    parts, x = to_int4(torch.randn(128, GROUP)), torch.randn(SOME + 1, GROUP)
    usual = Int4(*parts, copy=False)(x)
    int4.is_readable.cache_clear()
    turned = int4._kernel_weight
    monkeypatch.setattr(int4, "_kernel_weight", lambda packed: turned(packed).flip(0))
    assert not int4.is_readable()
    found = Int4(*parts, copy=False)(x)
    int4.is_readable.cache_clear()
    assert error(found, usual) < 0.03


def test_bytes_count_every_copy() -> None:
    parts = to_int4(torch.randn(32, 64))
    weights, scales = 32 * 64 // 2, 32 * 64 // GROUP * 4
    kernel = (weights + scales) * int4.is_available()
    assert Int4(*parts, copy=False).bytes == kernel + weights + scales  # half a tile
    assert Int4(*parts).bytes == kernel + 32 * 64 + 32 * 4
    tile = Int4(*to_int4(torch.randn(64, 64)), copy=False)
    assert tile.bytes == 2 * (weights + scales)


def test_on_an_accelerator_nothing_is_used_that_only_a_cpu_has() -> None:
    packed, scale, zero = (part.to("meta") for part in to_int4(torch.randn(64, GROUP)))
    block = Int4(packed, scale, zero)
    assert block.kernel is None
    assert block.copy is None
    found = block(torch.randn(2, 3, GROUP, dtype=torch.bfloat16, device="meta"))
    assert (found.shape, found.dtype) == ((2, 3, 64), torch.bfloat16)
