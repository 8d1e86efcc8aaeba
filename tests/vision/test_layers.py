import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from gemma3n.vision import layers
from gemma3n.vision.layers import ChannelNorm, Conv, ConvNorm, Pointwise, by_pixels, gelu


@given(
    high=st.integers(1, 11),
    wide=st.integers(1, 11),
    kernel=st.sampled_from([1, 2, 3, 5]),
    stride=st.integers(1, 2),
    depthwise=st.booleans(),
)
def test_a_conv_pads_as_tensorflow_does(
    high: int, wide: int, kernel: int, stride: int, depthwise: bool
) -> None:
    conv = Conv(3, 3 if depthwise else 7, kernel, stride, groups=3 if depthwise else 1, bias=True)
    x = torch.randn(2, high, wide, 3)
    padding: list[int] = []  # of torch's pad: the last dimension first
    for size in (wide, high):
        total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
        padding += [total // 2, total - total // 2]
    padded = F.pad(x.permute(0, 3, 1, 2), padding)
    expected = F.conv2d(padded, conv.weight, conv.bias, stride, groups=conv.groups)
    y = conv(x)
    assert y.shape[1:3] == (-(-high // stride), -(-wide // stride))
    torch.testing.assert_close(y, expected.permute(0, 2, 3, 1))


def test_a_pointwise_is_a_1x1_conv() -> None:
    pointwise = Pointwise(5, 7)
    x = torch.randn(2, 3, 4, 5)
    expected = F.conv2d(x.permute(0, 3, 1, 2), pointwise.weight).permute(0, 2, 3, 1)
    torch.testing.assert_close(pointwise(x), expected)


def test_a_channel_norm_divides_by_the_root_mean_square_of_the_channels() -> None:
    norm = ChannelNorm(7)
    nn.init.normal_(norm.weight)
    # The last pixel is so small that eps counts.
    x = torch.randn(2, 3, 5, 7) * torch.tensor([1.0, 100.0, 0.01, 1e-3, 1e-4])[:, None]
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * norm.weight
    torch.testing.assert_close(norm(x), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_zero_pixel_has_a_norm_and_a_gradient(dtype: torch.dtype) -> None:
    x = torch.zeros(1, 1, 2, 3, dtype=dtype, requires_grad=True)
    y = ChannelNorm(3).to(dtype)(x)
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def test_gelu_is_the_tanh_form_in_float32() -> None:
    x = torch.randn(1000)
    assert torch.equal(gelu(x), F.gelu(x, approximate="tanh"))


def test_gelu_in_bfloat16_is_as_near_as_rounding_allows() -> None:
    x = torch.randn(100_000).bfloat16()
    exact = F.gelu(x.double(), approximate="tanh")
    rounding = (F.gelu(x, approximate="tanh").double() - exact).square().mean().sqrt()
    assert (gelu(x).double() - exact).square().mean().sqrt() < 1.02 * rounding


@given(piece=st.integers(1, 4000), high=st.integers(1, 5), wide=st.integers(1, 5))
def test_pieces_of_the_pixels_give_what_the_whole_map_gives(
    piece: int, high: int, wide: int
) -> None:
    step = ConvNorm(Pointwise(3, 7))
    seen: list[int] = []

    def counted(x: torch.Tensor) -> torch.Tensor:
        seen.append(x[..., 0].numel())
        return torch.as_tensor(step(x))

    x = torch.randn(2, high, wide, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers, "PIECE_BYTES", piece)
        y = by_pixels(counted, x, expanded=7)
    torch.testing.assert_close(y, step(x))
    assert sum(seen) == 2 * high * wide
    assert max(seen) * 7 * 4 <= max(piece, 7 * 4)
