from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemma3n import NestedSize
from gemma3n.checkpoint import Checkpoint
from gemma3n.joint import Weighted, joint_loss
from gemma3n.trainable import Trainable

SMALL = NestedSize((5, 6, 7, 8, 9), 100)


@pytest.fixture
def trainable(checkpoint_folder: Path) -> Trainable:
    checkpoint = Checkpoint(checkpoint_folder)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    return model


def loss(model: Trainable, sizes: list[tuple[NestedSize, float]]) -> Tensor:
    ids = torch.tensor([[2, 9, 8, 77, 5], [2, 300, 41, 0, 0]])
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, -1, -1]])
    answers = torch.tensor([[0, 0, 0, 1, 1], [0, 0, 1, 0, 0]], dtype=torch.bool)
    text = model.config.text
    weighted = [
        Weighted(model.text.running(size.ffn_widths(text)), weight) for size, weight in sizes
    ]
    return joint_loss(model.text, ids, model.fused(ids), positions, answers, weighted)


def gradients(model: Trainable, sizes: list[tuple[NestedSize, float]]) -> dict[str, Tensor]:
    model.zero_grad()
    loss(model, sizes).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def test_the_joint_loss_is_the_weighted_sum_over_sizes(trainable: Trainable) -> None:
    full, small = loss(trainable, [(NestedSize(), 1.0)]), loss(trainable, [(SMALL, 1.0)])
    joint = loss(trainable, [(NestedSize(), 0.6), (SMALL, 0.4)])
    torch.testing.assert_close(joint, 0.6 * full + 0.4 * small)


def test_units_that_only_the_large_size_has_get_only_its_gradient(trainable: Trainable) -> None:
    joint = gradients(trainable, [(NestedSize(), 0.6), (SMALL, 0.4)])
    full = gradients(trainable, [(NestedSize(), 0.6)])
    small = gradients(trainable, [(SMALL, 0.4)])
    for name, gradient in joint.items():
        rest = small.get(name, torch.zeros_like(gradient))
        torch.testing.assert_close(gradient, full[name] + rest, atol=1e-6, rtol=1e-4)
    gate = "text.layers.3.mlp.gate_proj.weight"
    assert torch.equal(joint[gate][100:], full[gate][100:])
    assert not small[gate][100:].any()
    assert not [name for name in small if name.startswith("text.layers.7.")]


def test_only_answers_are_learned(trainable: Trainable) -> None:
    ids = torch.tensor([[2, 9, 8, 77]])
    positions, answers = torch.arange(4)[None], torch.tensor([[False, False, False, True]])
    size = [Weighted(trainable.text.full, 1.0)]
    found = joint_loss(trainable.text, ids, trainable.fused(ids), positions, answers, size)
    logits = trainable.text.logits(trainable.text(ids, trainable.fused(ids), positions))
    torch.testing.assert_close(found, -logits[0, 2].log_softmax(-1)[77])


def test_what_is_shown_may_be_wrong_and_the_right_token_is_learned(trainable: Trainable) -> None:
    shown, right = torch.tensor([[2, 9, 300, 77]]), torch.tensor([[2, 9, 8, 77]])
    answers = torch.tensor([[False, False, True, True]])
    found = joint_loss(
        *(trainable.text, shown, trainable.fused(shown), torch.arange(4)[None], answers),
        [Weighted(trainable.text.full, 1.0)],
        targets=right,
    )
    hidden = trainable.text(shown, trainable.fused(shown), torch.arange(4)[None])
    scores = trainable.text.logits(hidden).log_softmax(-1)
    torch.testing.assert_close(found, -(scores[0, 1, 8] + scores[0, 2, 77]) / 2)


def test_what_is_only_asked_is_not_computed_to_the_end_and_changes_nothing(
    trainable: Trainable,
) -> None:
    """Rows of prompts of different lengths: the shortest one says where answers begin."""
    ids = torch.tensor([[2, 9, 8, 77, 5], [2, 300, 41, 6, 0]])
    positions = torch.tensor([[0, 1, 2, 3, 4], [0, 1, 2, 3, -1]])
    answers = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 1, 1, 0]], dtype=torch.bool)
    embeddings = trainable.fused(ids)
    found = joint_loss(
        trainable.text, ids, embeddings, positions, answers, [Weighted(trainable.text.full, 1.0)]
    )
    scores = trainable.text.logits(trainable.text(ids, embeddings, positions)).log_softmax(-1)
    said = [scores[0, 3, 5], scores[1, 1, 41], scores[1, 2, 6]]
    torch.testing.assert_close(found, -torch.stack(said).mean())
