"""Gradient checkpointing: the same gradients, from a fraction of the activations."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint

from gemma3n.adapter_config import AdapterConfig
from gemma3n.checkpoint import Checkpoint
from gemma3n.joint import Weighted
from gemma3n.lora import new_adapter
from gemma3n.named import checkpoint_folder as folder_of
from gemma3n.tokenizer import Tokenizer
from gemma3n.trainable import Trainable
from pipelines.settings import LossSettings, TrainJob
from pipelines.train import train
from pipelines.training.batch import Batch, Collator
from pipelines.training.device import Products
from pipelines.training.examples import Kind, read_examples
from pipelines.training.objective import Objective
from stages.mel import mel_config
from stages.resize import checkpoint_resolution

Batches = dict[Kind, Batch]
PROMPTS = {Kind.audio: "Transcribe: <audio>", Kind.image: "<image>"}
ALL = LossSettings(1.0, 0.3, 0.2, 0.2, 0.1, 0.1)


@pytest.fixture
def batches(make_job: Callable[..., TrainJob], collate: Callable[..., Batch]) -> Batches:
    found = read_examples(make_job("unused").train)
    return {kind: collate([one for one in found if one.kind is kind][:3], "") for kind in Kind}


def trainable(folder: Path) -> Trainable:
    checkpoint = Checkpoint(folder)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    return model


def step(
    model: Trainable, batch: Batch, weights: LossSettings, products: Products | None = None
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Losses and gradients."""
    torch.manual_seed(0)  # heads and dropout
    objective = Objective(model, weights, ["a"], products)
    model.zero_grad()
    sizes = [Weighted(model.text.full, 0.6), Weighted(model.text.full, 0.4)]
    losses = objective(model, batch, sizes)
    torch.stack(list(losses.values())).sum().backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients


@pytest.mark.parametrize("products", [Products(), Products(torch.bfloat16, torch.bfloat16)])
def test_losses_and_gradients_are_those_of_kept_activations(
    checkpoint_folder: Path, batches: Batches, products: Products
) -> None:
    for batch in batches.values():
        model = trainable(checkpoint_folder)
        losses, expected = step(model, batch, ALL, products)
        model.recompute()
        again, gradients = step(model, batch, ALL, products)
        assert again == losses
        assert set(gradients) == set(expected)
        for name, gradient in gradients.items():
            torch.testing.assert_close(gradient, expected[name], atol=1e-6, rtol=1e-5, msg=name)


def test_dropout_draws_the_same_when_it_is_computed_again(
    checkpoint_folder: Path, batches: Batches
) -> None:
    model = trainable(checkpoint_folder)
    model.requires_grad_(False)
    targets = ["q_proj", "k_proj", "down_proj"]
    adapter = new_adapter(model.text, AdapterConfig(2, 4.0), targets, dropout=0.5)
    for one in adapter.parameters():
        torch.nn.init.normal_(one, std=0.1)
    adapter.attach(model.text)
    found = []
    for recompute in (False, True):
        if recompute:
            model.recompute()
        adapter.zero_grad()
        step(model, batches[Kind.text], LossSettings())
        found.append([one.grad.clone() for one in adapter.parameters() if one.grad is not None])
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def kept(model: Trainable, batch: Batch) -> float:
    """MB that a step keeps for its gradients, weights not counted."""
    weights = {one.untyped_storage()._cdata for one in model.parameters()}
    sizes: dict[int, int] = {}
    held = []  # so that no storage takes the place of another

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            sizes[storage._cdata] = storage.nbytes()
            held.append(storage)
        return tensor

    with saved_tensors_hooks(note, lambda tensor: tensor):
        step(model, batch, LossSettings())
    return sum(sizes.values()) / 1e6


def test_a_fraction_of_the_activations_is_kept(make_job: Callable[..., TrainJob]) -> None:
    folder = folder_of("nano")
    model = trainable(folder)
    resolution = checkpoint_resolution(folder)
    collate = Collator(Tokenizer(folder, model.config), mel_config(folder), resolution, PROMPTS)
    found = read_examples(make_job("unused").train)
    batches = {kind: collate([one for one in found if one.kind is kind], "") for kind in Kind}
    before = {kind: kept(model, batch) for kind, batch in batches.items()}
    model.recompute()
    for kind, batch in batches.items():
        after = kept(model, batch)
        sys.stdout.write(f"{kind.value}: {before[kind]:.0f} MB, recomputed {after:.0f} MB\n")
        assert after < before[kind] / 2


def test_a_run_may_go_on_with_less_memory_to_the_same_weights(
    make_job: Callable[..., TrainJob], monkeypatch: pytest.MonkeyPatch
) -> None:
    through, changed = make_job("through", steps=2), make_job("changed", steps=1)
    train(through)
    train(changed)
    blocks = []

    def counted(block: nn.Module, *inputs: object, use_reentrant: bool) -> object:
        blocks.append(type(block).__name__)
        return checkpoint(block, *inputs, use_reentrant=use_reentrant)

    monkeypatch.setattr("gemma3n.recompute.checkpoint", counted)
    train(make_job("changed", steps=2, gradient_checkpointing=True))
    # Those of the text decoder, the audio tower and the vision tower.
    assert {"DecoderLayer", "Block", "EdgeResidual", "InvertedResidual"} <= set(blocks)
    expected, found = (
        load_file(Path(job.output) / "state" / "weights.safetensors") for job in (through, changed)
    )
    for name, tensor in found.items():
        torch.testing.assert_close(tensor, expected[name], msg=name)
