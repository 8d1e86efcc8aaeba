import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gemma3n.text.feedforward import FeedForward, shifted_top


def copy_prefix(source: FeedForward, target: FeedForward) -> None:
    width = target.gate_proj.out_features
    with torch.no_grad():
        target.gate_proj.weight.copy_(source.gate_proj.weight[:width])
        target.up_proj.weight.copy_(source.up_proj.weight[:width])
        target.down_proj.weight.copy_(source.down_proj.weight[:, :width])


@given(
    width=st.integers(1, 7),
    batch=st.integers(1, 3),
    seq=st.integers(1, 5),
    sparsity=st.sampled_from([0.0, 0.5]),
)
def test_a_nested_ffn_equals_a_small_ffn_with_the_prefix_weights(
    width: int, batch: int, seq: int, sparsity: float
) -> None:
    full, small = FeedForward(4, 7, sparsity), FeedForward(4, width, sparsity)
    copy_prefix(full, small)
    x = torch.randn(batch, seq, 4)
    torch.testing.assert_close(full(x, width=width), small(x))


@pytest.mark.parametrize("width", [0, 9])
def test_a_width_that_the_layer_does_not_hold_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match=f"width={width}, but this layer holds 1 to 7 FFN units"):
        FeedForward(4, 7)(torch.randn(1, 1, 4), width=width)


def test_the_cutoff_uses_the_population_deviation_and_shifts_what_survives() -> None:
    gate = torch.tensor([[0.0, 2.0, 4.0, 10.0]])  # mean 4, population variance 14
    kept = shifted_top(gate, 1.0)
    expected = torch.tensor([[0.0, 0.0, 0.0, 6.0 - 14.0**0.5]])
    torch.testing.assert_close(kept, expected)


def test_a_sparse_gate_keeps_about_one_unit_in_twenty() -> None:
    ffn = FeedForward(3, 20_000, sparsity=0.95)
    nn.init.normal_(ffn.gate_proj.weight)
    assert ffn.cutoff is not None
    gate = shifted_top(ffn.gate_proj(torch.randn(1, 3)), ffn.cutoff)
    assert (gate > 0).float().mean() == pytest.approx(0.05, abs=0.01)
