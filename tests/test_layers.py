import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.layers import RMSNorm, rounded


def test_the_gain_of_rms_norm_is_the_weight_and_not_one_plus_it() -> None:
    norm = RMSNorm(3)
    norm.weight = torch.nn.Parameter(torch.full((3,), 2.0))
    assert torch.allclose(norm(torch.tensor([3.0, 3.0, 3.0])), torch.full((3,), 2.0), atol=1e-5)


def test_rms_norm_computes_in_float32_and_answers_in_the_dtype_it_got() -> None:
    x = torch.full((1, 4), 300.0, dtype=torch.float16)  # its square overflows float16
    out = RMSNorm(4, gain=False)(x)
    assert out.dtype == torch.float16
    assert torch.allclose(out.float(), torch.ones(1, 4), atol=1e-3)


def test_the_embedding_scale_is_rounded_as_bfloat16_weights_hold_it() -> None:
    assert rounded(2048**0.5, torch.bfloat16) == 45.25
    assert abs(rounded(2048**0.5, torch.float32) - 2048**0.5) < 1e-5


@given(
    value=st.floats(2.0**-99, 2.0**99, width=32).flatmap(lambda x: st.sampled_from([x, -x, 0.0]))
)
def test_rounding_is_that_of_tensors(value: float) -> None:
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        assert rounded(value, dtype) == torch.tensor(value, dtype=dtype).item()
