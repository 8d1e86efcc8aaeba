from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import gemma3n
from gemma3n import Gemma3n, NestedSize
from gemma3n.checkpoint import Checkpoint
from gemma3n.linear import Linear
from gemma3n.routes import int4, int8, packed
from gemma3n.routes.blocks import Block, Blocks
from gemma3n.routes.int4 import Int4
from gemma3n.routes.int8 import Int8

Arrays = Callable[[str], dict[str, Tensor]]
TOLERANCE = 5e-4
pytestmark = pytest.mark.skipif(
    not (packed.is_available(torch.float32) and int8.packs() and int4.is_available()),
    reason="this torch build lacks oneDNN",
)
# Cosine with the reference's logits at every position, and share of equal choices: the tiny model
# is random and its layers are narrow, so that rounding shows more than in a trained one.
NEAR = {
    ("bfloat16", True): (0.995, 0.85),
    ("int8", True): (0.995, 0.85),
    ("int8", False): (0.995, 0.85),
    ("int4", True): (0.9, 0.5),
    ("int4", False): (0.9, 0.5),
}


def load(name: str | Path, **how: Any) -> Gemma3n:
    return gemma3n.load(name, parts=["text"], device="cpu", **how)


def blocks_of(model: Gemma3n) -> dict[str, list[Block]]:
    return {
        name: module.route.blocks
        for name, module in model.text.named_modules()
        if isinstance(getattr(module, "route", None), Blocks)
    }


def test_packed_float32_equals_the_reference_at_every_nested_size(
    checkpoint_folder: Path, golden: Arrays, slices: dict[str, NestedSize]
) -> None:
    model, prefill, sliced = (
        load(checkpoint_folder, precision="float32", pack=True),
        golden("text_prefill"),
        golden("slices"),
    )
    assert "layers.0.mlp.gate_proj" in blocks_of(model)
    found = model.logits(prefill["input_ids"])
    torch.testing.assert_close(found, prefill["logits"], atol=TOLERANCE, rtol=0)
    for name, size in slices.items():
        found = model.logits(sliced["input_ids"], nested=size)
        torch.testing.assert_close(found, sliced[f"{name}.logits"], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize(("precision", "pack"), NEAR)
def test_rounded_weights_agree_with_the_reference_in_direction_and_choice(
    checkpoint_folder: Path, golden: Arrays, precision: str, pack: bool
) -> None:
    reference = golden("text_prefill")
    model = load(checkpoint_folder, precision=precision, pack=pack)
    logits = model.logits(reference["input_ids"]).float()
    cosine, agreement = NEAR[precision, pack]
    assert torch.cosine_similarity(logits, reference["logits"], -1).min() >= cosine
    agreed = logits.argmax(-1) == reference["logits"].argmax(-1)
    assert agreed.float().mean() >= agreement


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_small_inside_full_computes_what_small_alone_computes(precision: str) -> None:
    full, small = (
        load("nano", nested=size, precision=precision, pack=True) for size in ("full", "small")
    )
    ids = torch.randint(4, 600, (2, 5))
    assert len(blocks_of(full)["layers.0.mlp.down_proj"]) == 2
    assert len(blocks_of(small)["layers.0.mlp.down_proj"]) == 1
    assert torch.equal(full.logits(ids, nested="small"), small.logits(ids))


def test_a_packed_or_rounded_weight_is_not_mapped_as_well(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mapped = set()
    tensor = Checkpoint.tensor

    def noted(self: Checkpoint, name: str) -> Tensor:
        found = tensor(self, name)
        mapped.add(found.data_ptr())
        return found

    monkeypatch.setattr(Checkpoint, "tensor", noted)
    model = load(checkpoint_folder, precision="int8")
    held = {p.data_ptr() for p in model.text.parameters()}
    routed = [m for m in model.text.modules() if isinstance(m, Linear) and m.route is not None]
    assert len(routed) == len(blocks_of(model)) - 1  # the other is the head
    assert all(m.weight is None for m in routed)
    assert model.text.embed_tokens.weight.data_ptr() in mapped & held


def test_what_would_not_fit_is_left_mapped_unless_it_is_asked_for(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("gemma3n.loading.available_memory", lambda: 1_000_000)
    monkeypatch.setattr("gemma3n.loading._CACHED", 0)
    assert not blocks_of(load(checkpoint_folder, precision="bfloat16"))
    assert "not packed: 1.00 MB of memory are free, and copies need" in caplog.text
    assert blocks_of(load(checkpoint_folder, precision="bfloat16", pack=True))


def test_weights_that_a_cache_holds_are_not_packed_unless_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not blocks_of(load("nano", precision="bfloat16"))
    monkeypatch.setattr("gemma3n.loading._CACHED", 0)
    assert blocks_of(load("nano", precision="bfloat16"))


def test_int4_is_for_maps_whose_inputs_divide_into_groups(checkpoint_folder: Path) -> None:
    # Its per-layer inputs have 16 channels, half a group; the head is always int8.
    kinds = {
        name: {type(block) for block in blocks}
        for name, blocks in blocks_of(load(checkpoint_folder, precision="int4")).items()
    }
    assert kinds["layers.0.mlp.down_proj"] == {Int4}
    assert kinds["layers.0.per_layer_projection"] == kinds["embed_tokens"] == {Int8}
    assert "layers.0.laurel.linear_left" not in kinds


def test_answers_are_the_same_whatever_rows_are_answered_together() -> None:
    model = load("nano", precision="int8")
    prompts = [[2, 9, 8], [2, 30, 31, 32, 33], [2, 100]]
    together = model.generate_ids(prompts, max_new_tokens=4, stop_ids=[])
    alone = [model.generate_ids([p], max_new_tokens=4, stop_ids=[])[0] for p in prompts]
    assert together == alone


def test_the_log_counts_each_weight_once_in_whatever_format(
    checkpoint_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "gemma3n.weights")
    for precision in ("float32", "bfloat16", "int8"):
        load(checkpoint_folder, precision=precision, pack=True)
    told = [one for one in caplog.messages if one.startswith("loaded text")]
    assert len({one.partition(" M parameters")[0] for one in told}) == 1, told
