import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from gemma3n.routes import packed
from gemma3n.routes.packed import Packed

BFLOAT16, FLOAT32 = torch.bfloat16, torch.float32
needs_packing = pytest.mark.skipif(
    not packed.is_available(FLOAT32), reason="this torch build has no oneDNN"
)


@needs_packing
@given(
    rows=st.integers(1, 9),
    columns=st.integers(1, 9),
    tokens=st.integers(0, 5),
    dtype=st.sampled_from([FLOAT32, BFLOAT16]),
)
def test_a_packed_weight_gives_what_the_plain_one_gives(
    rows: int, columns: int, tokens: int, dtype: torch.dtype
) -> None:
    weight, x = (
        torch.randn(rows, columns, dtype=dtype),
        torch.randn(2, tokens, columns, dtype=dtype),
    )
    torch.testing.assert_close(Packed(weight)(x), F.linear(x, weight))


@needs_packing
def test_float32_activations_meet_a_bfloat16_weight_and_stay_float32() -> None:
    weight, x = torch.randn(7, 5).bfloat16(), torch.randn(3, 5)
    found = Packed(weight)(x)
    assert found.dtype == FLOAT32
    torch.testing.assert_close(found, F.linear(x, weight.float()), atol=0.1, rtol=0.02)


def test_without_the_private_operators_nothing_is_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    packed.is_available.cache_clear()
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not packed.is_available(FLOAT32)
    packed.is_available.cache_clear()
