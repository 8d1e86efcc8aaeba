import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import gemma3n
from gemma3n.gptq import Powers, rounder
from gemma3n.quantize import int4_names
from gemma3n.rounding import from_int4, to_int4


def _lost(weight: Tensor, x: Tensor, parts: tuple[Tensor, Tensor, Tensor]) -> float:
    """Share of the outputs' power that rounding changes."""
    exact = F.linear(x, weight)
    return float((F.linear(x, from_int4(*parts, torch.float32)) - exact).norm() / exact.norm())


@given(rows=st.integers(1, 20), groups=st.integers(1, 4), seed=st.integers(0, 99))
def test_outputs_for_inputs_that_go_together_change_less(rows: int, groups: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    columns = 32 * groups
    weight = torch.randn(rows, columns, generator=generator)
    few = torch.randn(6, columns, generator=generator)  # directions that inputs have
    x = torch.randn(300, 6, generator=generator) @ few
    parts = rounder(x.T @ x)(weight)
    nearest = to_int4(weight)
    for ours, theirs in zip(parts, nearest, strict=True):
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
    assert _lost(weight, x, parts) < 0.8 * _lost(weight, x, nearest)


def test_inputs_that_do_not_go_together_are_rounded_to_nearest() -> None:
    weight = torch.randn(8, 64)
    for ours, theirs in zip(rounder(torch.eye(64))(weight), to_int4(weight), strict=True):
        assert torch.equal(ours, theirs)


def test_inputs_that_are_never_there_do_no_harm() -> None:
    weight, x = torch.randn(8, 64), torch.randn(100, 64)
    x[:, 10:40] = 0
    parts = rounder(x.T @ x)(weight)
    assert from_int4(*parts, torch.float32).isfinite().all()
    assert _lost(weight, x, parts) < 0.12


@pytest.mark.parametrize("room", [1, 200_000, 10**9])
def test_powers_are_those_of_the_inputs_however_many_are_held(room: int) -> None:
    model = gemma3n.load("nano", parts=["text"], precision="float32", device="cpu")
    names = int4_names(model.checkpoint)[:7]
    ids = torch.randint(4, 600, (1, 9))
    inputs: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        linear = model.text.get_submodule(name.removeprefix("text.").removesuffix(".weight"))

        def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            inputs[name] = given[0].flatten(0, -2)

        linear.register_forward_pre_hook(note)

    for name in names:
        keep(name)

    def show() -> None:
        model.logits(ids)

    powers = Powers(model.text, show, names, room)
    for name in names:
        found = powers.of(name)
        x = inputs[name]
        torch.testing.assert_close(found, x.T @ x, atol=1e-3, rtol=1e-4)
