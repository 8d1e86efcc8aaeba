"""Products of our own; skipped where there is no processor or compiler for them."""

import logging
import subprocess
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from gemma3n.choices import Precision
from gemma3n.native import build
from gemma3n.rounding import from_int4, to_int4, to_int8
from gemma3n.routes import native
from gemma3n.routes.blocks import Block
from gemma3n.routes.int8 import Int8, rounded_tokens
from gemma3n.routes.native import NativeBfloat16, NativeInt4, NativeInt8

KINDS = [Precision.int8, Precision.int4, Precision.bfloat16]
TOKENS = st.integers(0, 19)  # more than two tiles
BLOCKS = st.integers(1, 4)  # of 32, one and two of them at a time


def needs(kind: Precision) -> None:
    if not native.takes(kind, 32, 32):
        pytest.skip(f"no product of our own for {kind.value} here")


def made(kind: Precision, weight: Tensor) -> Block:
    match kind:
        case Precision.int8:
            return NativeInt8(*to_int8(weight))
        case Precision.int4:
            return NativeInt4(*to_int4(weight))
        case _:
            return NativeBfloat16(weight.bfloat16())


@given(tokens=TOKENS, rows=BLOCKS, columns=BLOCKS)
def test_int8_is_what_the_other_routes_give_bit_for_bit(
    tokens: int, rows: int, columns: int
) -> None:
    needs(Precision.int8)
    rounded = to_int8(torch.randn(32 * rows, 32 * columns))
    x = torch.randn(1, tokens, 32 * columns) * 10
    assert torch.equal(NativeInt8(*rounded)(x), Int8(*rounded, pack=False)(x))


@given(tokens=TOKENS, rows=BLOCKS, columns=BLOCKS)
def test_int4_is_what_whole_numbers_give(tokens: int, rows: int, columns: int) -> None:
    needs(Precision.int4)
    rounded = to_int4(torch.randn(32 * rows, 32 * columns))
    x = torch.randn(tokens, 32 * columns)
    whole, scale = rounded_tokens(x)
    exact = (whole.double() @ from_int4(*rounded, torch.float64).t()) * scale
    torch.testing.assert_close(NativeInt4(*rounded)(x), exact.float(), atol=1e-4, rtol=1e-4)


@given(tokens=TOKENS, rows=BLOCKS, columns=BLOCKS)
def test_bfloat16_is_what_the_plain_product_gives(tokens: int, rows: int, columns: int) -> None:
    needs(Precision.bfloat16)
    weight = torch.randn(32 * rows, 32 * columns).bfloat16()
    x = torch.randn(tokens, 32 * columns).bfloat16()
    exact = F.linear(x.double(), weight.double())
    found = NativeBfloat16(weight)(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), exact, atol=1e-2, rtol=2**-7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_row_never_depends_on_its_batch_mates(kind: Precision, dtype: torch.dtype) -> None:
    needs(kind)
    block = made(kind, torch.randn(96, 160))
    # Batch mates of very different size, which would move a scale that they shared.
    x = torch.randn(19, 160, dtype=dtype) * torch.logspace(-3, 3, 19, dtype=dtype)[:, None]
    together = block(x)
    assert together.dtype == dtype
    for row in range(len(x)):
        assert torch.equal(block(x[row : row + 1])[0], together[row])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.2, 0.6])
def test_zeros_of_a_row_alone_are_skipped_and_change_nothing(kind: Precision, kept: float) -> None:
    needs(kind)
    block = made(kind, torch.randn(96, 512))
    x = torch.randn(2, 512) * (torch.rand(2, 512) < kept)
    assert torch.equal(block(x[:1])[0], block(x)[0])


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_tokens_may_be_views(kind: Precision) -> None:
    needs(kind)
    weight, x = torch.randn(64, 64), torch.randn(5, 64)
    doubled = torch.stack([weight, weight + 1], -1)[..., 0]
    assert torch.equal(made(kind, doubled)(x.t().contiguous().t()), made(kind, weight)(x))


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_and_infinity_cost_no_other_row(kind: Precision) -> None:
    needs(kind)
    block, x = made(kind, torch.randn(32, 64)), torch.randn(3, 64)
    alone = block(x[1:2])
    x[0], x[2, 5] = 0, torch.inf
    found = block(x)
    assert torch.equal(found[0], torch.zeros(32))
    assert torch.equal(found[1], alone[0])


@pytest.mark.parametrize(("rows", "columns"), [(31, 64), (64, 48)])
def test_a_weight_that_does_not_divide_is_left_to_others(rows: int, columns: int) -> None:
    assert not native.takes(Precision.int8, rows, columns)


def test_a_switch_turns_them_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMMA3N_NATIVE", "0")
    assert build.found_compiler() is None
    assert not any(native.takes(kind, 32, 32) for kind in KINDS)


def test_a_compiler_that_fails_is_named_once_and_costs_speed_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken-c++"
    broken.write_text("#!/bin/sh\necho 'no such instruction' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CXX", str(broken))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        assert not build.is_loaded("rounded", ("-mno-such-machine",))
        assert not build.is_loaded("rounded", ("-mno-such-machine",))
    assert caplog.text.count("no such instruction") == 1
    assert str(broken) in caplog.text
    assert not list((tmp_path / "cache").rglob("*.so"))


def test_what_was_built_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    needs(Precision.int8)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    compiler = build.found_compiler()
    assert compiler is not None
    first = build._built("rounded", compiler, native._ROUNDED[1])
    monkeypatch.setattr(subprocess, "run", None)  # nothing is compiled again
    assert build._built("rounded", compiler, native._ROUNDED[1]) == first
    assert first.is_relative_to(tmp_path)
