from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gemma3n.rounding import from_int8, to_int8
from gemma3n.routes import int8
from gemma3n.routes.int8 import Int8, rounded_tokens

needs_packing = pytest.mark.skipif(not int8.packs(), reason="this torch build has no oneDNN int8")
PACKS = st.sampled_from([True, False])


@pytest.fixture(autouse=True, scope="module")
def _narrow_weights_are_packed_too() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(int8, "_NARROW", 1)
        yield


def in_whole_numbers(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    """The definition: products and sums in int64, then the two scales."""
    tokens, token_scale = rounded_tokens(x)
    product = (tokens.long() @ weight.long().t()).float()
    return product * scale * token_scale


@needs_packing
@given(rows=st.integers(1, 9), columns=st.integers(2, 40), tokens=st.integers(0, 5), pack=PACKS)
def test_packed_and_plain_give_what_whole_numbers_give_bit_for_bit(
    rows: int, columns: int, tokens: int, pack: bool
) -> None:
    weight, scale = to_int8(torch.randn(rows, columns))
    x = torch.randn(tokens, columns)
    found = Int8(weight, scale, pack)(x.view(1, tokens, columns))
    assert torch.equal(found[0], in_whole_numbers(x, weight, scale))


@needs_packing
@given(batch=st.integers(1, 40), pack=PACKS, dtype=st.sampled_from([torch.float32, torch.bfloat16]))
def test_a_row_never_depends_on_its_batch_mates(batch: int, pack: bool, dtype: torch.dtype) -> None:
    block = Int8(*to_int8(torch.randn(48, 80)), pack)
    # Batch mates of very different size, which would move a scale that they shared.
    x = torch.randn(batch, 80, dtype=dtype) * torch.logspace(-3, 3, batch, dtype=dtype)[:, None]
    together = block(x)
    for row in range(batch):
        assert torch.equal(block(x[row : row + 1])[0], together[row])


@pytest.mark.parametrize("pack", [True, False])
def test_a_weight_of_one_column_is_multiplied_rightly(pack: bool) -> None:
    weight, scale = to_int8(torch.tensor([[2.0], [-3.0], [5.0]]))
    for _ in range(20):  # torch's plain product reads what happens to lie behind the weight
        found = Int8(weight, scale, pack)(torch.tensor([[4.0]]))
        torch.testing.assert_close(found, torch.tensor([[8.0, -12.0, 20.0]]))


@pytest.mark.parametrize("pack", [True, False])
def test_an_int8_product_is_near_the_exact_one(pack: bool) -> None:
    weight, x = torch.randn(48, 512), torch.randn(3, 512)
    found, exact = Int8(*to_int8(weight), pack)(x), F.linear(x, weight)
    assert (found - exact).norm() / exact.norm() < 0.015


@pytest.mark.parametrize("pack", [True, False])
def test_weights_and_scales_may_be_views(pack: bool) -> None:
    weight, scale = to_int8(torch.randn(7, 8))
    x = torch.randn(3, 4)
    wide = torch.stack([scale, scale + 1], 1)
    found = Int8(weight[:, 4:], wide[:, 0], pack)(x)
    assert torch.equal(found, Int8(weight[:, 4:].clone(), scale, pack)(x))


@needs_packing
@pytest.mark.parametrize("shape", [(511, 600), (600, 511)])
def test_a_narrow_weight_is_not_packed(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, int]
) -> None:
    monkeypatch.setattr(int8, "_NARROW", 512)
    assert Int8(*to_int8(torch.randn(shape))).multiply is int8._plain
    assert Int8(*to_int8(torch.randn(600, 512))).multiply is int8._packed


def test_a_token_of_zeros_gives_zeros() -> None:
    found = Int8(*to_int8(torch.randn(7, 5)))(torch.zeros(2, 5))
    assert torch.equal(found, torch.zeros(2, 7))


def test_without_the_private_operators_the_weight_is_brought_to_the_activations_dtype(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    weight, scale = to_int8(torch.randn(7, 32))
    x = torch.randn(3, 32)
    usual = Int8(weight, scale)(x)
    for probe in (int8.packs, int8.multiplies):
        probe.cache_clear()
    monkeypatch.setattr(torch.ops, "onednn", object())
    monkeypatch.delattr(torch, "_int_mm")
    assert not int8.packs()
    assert not int8.multiplies()
    fallback = Int8(weight, scale)(x)
    for probe in (int8.packs, int8.multiplies):
        probe.cache_clear()
    torch.testing.assert_close(fallback, F.linear(x, from_int8(weight, scale)))
    assert (fallback - usual).norm() / fallback.norm() < 0.015


def test_on_an_accelerator_nothing_is_used_that_only_a_cpu_has() -> None:
    weight, scale = (part.to("meta") for part in to_int8(torch.randn(7, 32)))
    block = Int8(weight, scale)
    assert block.multiply is None
    found = block(torch.randn(2, 3, 32, dtype=torch.bfloat16, device="meta"))
    assert (found.shape, found.dtype) == ((2, 3, 7), torch.bfloat16)
