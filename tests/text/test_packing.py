import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.errors import SettingsError
from gemma3n.text.packing import Packing


@given(
    bits=st.sampled_from([8, 4]),
    ple=st.integers(1, 13),
    group=st.integers(1, 7),
    exponent=st.integers(-60, 60),
    seed=st.integers(0, 9999),
)
def test_no_value_of_a_packed_row_is_off_by_more_than_half_a_step(
    bits: int, ple: int, group: int, exponent: int, seed: int
) -> None:
    packing, draws = Packing(ple, bits, group), torch.Generator().manual_seed(seed)
    spread = 2.0 ** (exponent + torch.randint(-20, 20, (3, 2, 1), generator=draws))
    values = torch.randn(3, 2, ple, generator=draws) * spread
    blocks = packing.pack(values)
    assert blocks.shape == (3, 2, packing.block_bytes)
    steps = packing.scales(blocks).repeat_interleave(group, -1)[..., :ple]
    error = (packing.unpack(blocks) - values).abs()
    assert (error <= steps / 2).all()
    largest = values.abs().amax(-1, keepdim=True)
    assert (steps <= largest / packing.largest * 1.01).all()  # no larger than they have to be


def test_zeros_and_whole_steps_are_exact() -> None:
    packing = Packing(6, 4, group=3)
    values = torch.tensor([[0.0, 0.0, 0.0, 7.0, -7.0, 3.0]])
    assert torch.equal(packing.unpack(packing.pack(values)), values)


def test_a_block_is_laid_out_as_documented() -> None:
    packing = Packing(3, 4, group=2)
    block = packing.pack(torch.tensor([[7.0, -2.0, 14.0]]))[0]
    assert block[:2].tolist() == [(7 + 8) | (-2 + 8) << 4, 7 + 8]
    assert block[2:].view(torch.bfloat16).tolist() == [1.0, 2.0]
    eight = Packing(2, 8).pack(torch.tensor([[127.0, -5.0]]))[0]
    assert eight[:2].view(torch.int8).tolist() == [127, -5]
    assert eight[2:].view(torch.bfloat16).tolist() == [1.0]


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_what_is_no_number_is_not_packed(value: float) -> None:
    with pytest.raises(SettingsError, match="infinite or no numbers"):
        Packing(2, 8).pack(torch.tensor([[1.0, value]]))


def test_other_bits_are_refused() -> None:
    with pytest.raises(SettingsError, match="bits=2; rows are packed in 8 or 4"):
        Packing(2, 2)
