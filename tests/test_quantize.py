import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import gemma3n
from gemma3n import Gemma3n, NestedSize, SettingsError
from gemma3n.checkpoint import Checkpoint
from gemma3n.linear import Linear
from gemma3n.memory import plan_memory
from gemma3n.named import checkpoint_folder as folder_of
from gemma3n.quantize import quantize_checkpoint
from gemma3n.rounded import is_map
from gemma3n.rounding import from_int4, from_int8
from gemma3n.slicing import slice_checkpoint
from gemma3n.trainable import Trainable

ODD = NestedSize.from_skip([4], 300)  # ends in no named size, and in the midst of a group


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The nano checkpoint as int8 and as int4."""
    folder = tmp_path_factory.mktemp("quantized")
    return {
        name: quantize_checkpoint("nano", name, folder / "new" / name) for name in ("int8", "int4")
    }


def load(name: str | Path, **how: Any) -> Gemma3n:
    return gemma3n.load(name, parts=["text"], device="cpu", **how)


def test_rounded_maps_are_those_of_the_decoder_that_may_be() -> None:
    model = load("nano", pack=False)
    linears = {n: m for n, m in model.text.named_modules() if isinstance(m, Linear)}
    expected = {f"text.{name}.weight" for name, module in linears.items() if module.rounds}
    names = {f"text.{name}" for name, _ in model.text.named_parameters()}
    assert {name for name in names if is_map(name)} == expected


@pytest.mark.parametrize("size", ["full", "small"])
@pytest.mark.parametrize("precision", ["int8", "int4"])
@pytest.mark.parametrize("pack", [True, False])
def test_it_gives_the_logits_of_rounding_on_load_at_every_nested_size(
    made: dict[str, Path], precision: str, size: str, pack: bool
) -> None:
    ids = torch.randint(4, 600, (2, 5))
    on_load = load("nano", precision=precision, pack=pack)
    from_files = load(made[precision], pack=pack)
    found = from_files.logits(ids, nested=size)
    assert torch.equal(found, on_load.logits(ids, nested=size))
    assert torch.equal(found, load(made[precision], nested=size, pack=pack).logits(ids))


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_a_size_that_ends_anywhere_runs_too(made: dict[str, Path], precision: str) -> None:
    ids = torch.randint(4, 600, (2, 5))
    inside = load(made[precision]).logits(ids, nested=ODD)
    for model in (load(made[precision], nested=ODD), load("nano", precision=precision, nested=ODD)):
        assert torch.cosine_similarity(inside, model.logits(ids), -1).min() > 0.99


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_no_weight_of_it_moved_by_more_than_half_its_scale(
    made: dict[str, Path], precision: str
) -> None:
    (before,), (after,) = (
        [load_file(path) for path in folder.glob("*.safetensors")]
        for folder in (folder_of("nano"), made[precision])
    )
    checked = 0
    for name, weight in before.items():
        scale = after.get(name + "_scale")
        if scale is None:
            assert name not in after or torch.equal(after[name], weight)
            continue
        checked += 1
        if after[name].dtype == torch.uint8:
            back = from_int4(after[name], scale, after[name + "_zero"], torch.float32)
        else:
            blocks = after[name].chunk(scale.shape[1], 1)  # nano's are alike
            columns = scale.unbind(1)
            back = torch.cat([from_int8(*one) for one in zip(blocks, columns, strict=True)], 1)
        half = scale.float().repeat_interleave(weight.shape[1] // scale.shape[1], 1) / 2
        assert ((back - weight.float()).abs() <= half * (1 + 1e-3)).all()
    assert checked > 50


def test_its_int8_weights_stay_mapped_unless_they_are_packed(made: dict[str, Path]) -> None:
    model = load(made["int8"], pack=False)
    block = model.text.layer(2).self_attn.q_proj.route.blocks[0]  # type: ignore[union-attr]
    mapped = model.checkpoint.tensor("text.layers.2.self_attn.q_proj.weight")
    assert block.weight.data_ptr() == mapped.data_ptr()


def test_it_is_smaller_and_the_plan_knows_it(made: dict[str, Path]) -> None:
    for precision, folder in made.items():
        on_load, from_files = (
            plan_memory(name, "small", ["text"], precision) for name in ("nano", folder)
        )
        assert on_load.tier("device") == from_files.tier("device")
        assert plan_memory(folder, precision="bfloat16").items == plan_memory(folder).items
    sizes = [sum(p.stat().st_size for p in made[n].glob("*.safetensors")) for n in made]
    assert sizes[0] > sizes[1]


def test_towers_and_all_else_come_along(made: dict[str, Path]) -> None:
    before, after = Checkpoint("nano"), Checkpoint(made["int8"])
    for name, entry in before.entries.items():
        if name.startswith(("vision.", "audio.", "embed_")):
            assert torch.equal(after.tensor(name), before.tensor(name))
            assert after.entries[name].dtype == entry.dtype
    assert (made["int8"] / "tokenizer.model").read_bytes() == (
        folder_of("nano") / "tokenizer.model"
    ).read_bytes()


def test_a_rounded_checkpoint_is_loaded_in_its_own_precision_only(made: dict[str, Path]) -> None:
    assert load(made["int4"], precision="int4").formats.weights.value == "int4"
    with pytest.raises(SettingsError, match="precision=bfloat16, but this checkpoint's weights"):
        load(made["int4"], precision="bfloat16")


def test_a_rounded_checkpoint_is_not_sliced_trained_or_rounded_again(
    made: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="are int8, and cannot be sliced"):
        slice_checkpoint(made["int8"], "small", tmp_path / "a")
    with pytest.raises(SettingsError, match="are int8, and cannot be quantized again"):
        quantize_checkpoint(made["int8"], "int4", tmp_path / "a")
    checkpoint = Checkpoint(made["int8"])
    with pytest.raises(SettingsError, match="are int8, and cannot be trained"):
        Trainable(checkpoint.config).load(checkpoint)
    assert not (tmp_path / "a").exists()


def test_only_int8_and_int4_are_made_and_only_into_a_free_folder(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="precision=bfloat16; quantize makes int8 or int4"):
        quantize_checkpoint("nano", "bfloat16", tmp_path / "a")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file").touch()
    with pytest.raises(SettingsError, match="exists and is not an empty folder"):
        quantize_checkpoint("nano", "int8", tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"quant_method": "bitsandbytes"}, "quantized by 'bitsandbytes'; accepted is 'gemma3n-pi"),
        ({"version": 2}, "quantized by 'gemma3n-pipelines' version 2; accepted is"),
        ({"weights": "int5"}, "lacks weights or ffn_ends, or they make no sense"),
        ({"ffn_ends": [[1]]}, "ffn_ends of 1 layers; accepted are int8 and int4, and one for each"),
    ],
)
def test_a_strange_rounding_is_refused(
    made: dict[str, Path], tmp_path: Path, change: dict[str, Any], why: str
) -> None:
    for path in made["int8"].iterdir():
        (tmp_path / path.name).symlink_to(path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["quantization_config"] |= change
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(SettingsError, match=why):
        load(tmp_path)
