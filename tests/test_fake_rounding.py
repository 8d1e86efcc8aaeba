from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.choices import Precision
from gemma3n.fake_rounding import FakeRounded, passed
from gemma3n.linear import Linear
from gemma3n.matformer import resolve_size
from gemma3n.placement import Ple
from gemma3n.trainable import Trainable

IDS = torch.tensor([[2, 9, 8, 77, 31, 200, 12]])


def _trainable(folder: Path) -> Trainable:
    checkpoint = Checkpoint(folder)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    return model


def _logits(model: Trainable, size: str) -> Tensor:
    nested = resolve_size(size, model.config).ffn_widths(model.config.text)
    running = model.text.running(nested)
    with torch.no_grad():
        positions = torch.arange(IDS.shape[1])[None]
        return model.text.logits(model.text(IDS, model.fused(IDS), positions, size=running))


@pytest.mark.parametrize("size", ["full", "small"])
@pytest.mark.parametrize(("precision", "bits", "close"), [("int8", 16, 2e-3), ("int4", 4, 0.1)])
def test_training_computes_what_the_rounded_model_will(
    size: str, precision: str, bits: int, close: float
) -> None:
    folder = Checkpoint("nano").folder
    model = _trainable(folder)
    exact = _logits(model, size)
    model.act_rounded(Precision[precision], bits)
    found = _logits(model, size)
    loaded = gemma3n.load(folder, precision=precision, pack=False, ple=Ple("resident", bits))
    expected = loaded.logits(IDS, nested=size).float()
    error = (found - expected).norm() / expected.norm()
    assert error < close, error
    assert error < 0.5 * (exact - expected).norm() / expected.norm()


@pytest.mark.parametrize("weights", [Precision.int8, Precision.int4])
def test_gradients_pass_the_rounding(weights: Precision) -> None:
    linear = Linear(64, 5)
    x = torch.randn(3, 64, requires_grad=True)
    plain = torch.autograd.grad(linear(x).sum(), [x, linear.weight])
    linear.route = FakeRounded(linear, weights)
    rounded = torch.autograd.grad(linear(x).sum(), [x, linear.weight])
    for ours, exact in zip(rounded, plain, strict=True):
        torch.testing.assert_close(ours, exact, atol=0.2, rtol=0.1)
        assert not torch.equal(ours, exact) or weights is Precision.int4


def test_a_nested_size_has_the_scales_of_its_own_blocks() -> None:
    linear = Linear(96, 4)
    linear.route = FakeRounded(linear, Precision.int8, [32, 96])
    with torch.no_grad():
        linear.weight[:, 32:] *= 100  # would drown the first block in a scale for both
        x = torch.randn(2, 96)
        x[:, 32:] = 0
        near = F.linear(x, linear.weight)
        torch.testing.assert_close(linear(x[:, :32]), near, atol=0.03, rtol=0)
        torch.testing.assert_close(linear(x), near, atol=0.03, rtol=0)
        rows = linear(x[:, :32], range(1, 3))
    torch.testing.assert_close(rows, linear(x[:, :32])[:, 1:3])


def test_what_is_passed_is_the_one_and_learns_as_the_other() -> None:
    exact = torch.tensor([0.3, 1.7], requires_grad=True)
    found = passed(exact, exact.detach().round())
    assert found.tolist() == [0.0, 2.0]
    assert torch.autograd.grad((found * found.detach()).sum(), exact)[0].tolist() == [0.0, 2.0]
