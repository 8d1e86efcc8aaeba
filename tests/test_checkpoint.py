import json
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import gemma3n
from gemma3n import SettingsError
from gemma3n.checkpoint import Checkpoint, is_unused_kv

TEXT = "model.language_model."


@pytest.fixture
def copy(checkpoint_folder: Path, tmp_path: Path) -> Path:
    """A checkpoint that a test may change."""
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copy"))


def change(folder: Path, **tensors: torch.Tensor | None) -> None:
    """Replace, add or (None) remove tensors, dots in names spelt as two underscores."""
    path = folder / "model.safetensors"
    state = load_file(path)
    for name, tensor in tensors.items():
        key = name.replace("__", ".")
        state.pop(key, None)
        if tensor is not None:
            state[key] = tensor
    save_file(state, path)


def shard(folder: Path) -> None:
    """Split into one file for text and one for the rest, with an index."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    where = {
        name: "text.safetensors" if name.startswith(TEXT) else "rest.safetensors" for name in state
    }
    for file in set(where.values()):
        save_file({n: t for n, t in state.items() if where[n] == file}, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))


def write_header(path: Path, header: object) -> None:
    encoded = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded)


def logits(folder: Path) -> torch.Tensor:
    return gemma3n.load(folder, precision="float32").logits(torch.tensor([[2, 9, 8]]))


def test_every_tensor_of_the_checkpoint_is_used_or_dropped_with_a_reason(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[str] = set()

    def recorded(ask: Callable[[Checkpoint, str], Any]) -> Callable[[Checkpoint, str], Any]:
        def asked(self: Checkpoint, name: str) -> Any:
            read.add(name)
            return ask(self, name)

        return asked

    for name in ("tensor", "dtype"):  # of the PLE table rows are read, past all views
        monkeypatch.setattr(Checkpoint, name, recorded(getattr(Checkpoint, name)))
    model = gemma3n.load(checkpoint_folder, precision="float32")
    model.embed(torch.tensor([[2]]))
    _ = model.audio, model.vision
    unused = set(model.checkpoint.entries) - read
    assert unused == {n for n in unused if is_unused_kv(n, model.config.text)}
    assert len(unused) == 3 * model.config.text.num_kv_shared_layers


def test_a_text_job_reads_no_byte_of_a_tower(
    checkpoint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    tensor = Checkpoint.tensor

    def recorded(self: Checkpoint, name: str) -> torch.Tensor:
        read.append(name)
        return tensor(self, name)

    monkeypatch.setattr(Checkpoint, "tensor", recorded)
    model = gemma3n.load(checkpoint_folder, parts=["text"], precision="float32")
    model.generate_ids([[2, 9, 8]], 3, [])
    assert not [name for name in read if name.startswith(("vision.", "audio."))]
    for tower in ("vision", "audio"):
        with pytest.raises(SettingsError, match=f"{tower} is needed, but this model was loaded"):
            getattr(model, tower)


def test_a_text_job_does_not_even_map_the_file_of_the_towers(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    towers = {n: t for n, t in state.items() if "_tower." in n}
    save_file(towers, copy / "towers.safetensors")
    save_file({n: t for n, t in state.items() if n not in towers}, copy / "rest.safetensors")
    job = f"""
import gemma3n
model = gemma3n.load({str(copy)!r}, precision="bfloat16")
model.generate_ids([[2, 9, 8]], 3, [])
maps = open("/proc/self/maps").read()
assert "rest.safetensors" in maps and "towers.safetensors" not in maps
model.audio
assert "towers.safetensors" in open("/proc/self/maps").read()
"""
    subprocess.run([sys.executable, "-c", job], check=True)


def test_bfloat16_weights_that_are_not_packed_are_the_mapped_file_itself(
    checkpoint_folder: Path,
) -> None:
    first = gemma3n.load(checkpoint_folder, precision="bfloat16", pack=False)
    gate = first.text.layer(3).mlp.gate_proj.weight
    mapped = first.checkpoint.tensor("text.layers.3.mlp.gate_proj.weight")
    assert gate.data_ptr() == mapped.data_ptr()


def test_shards_and_a_text_only_export_load_like_the_whole(copy: Path) -> None:
    expected = logits(copy)
    shard(copy)
    assert torch.equal(logits(copy), expected)

    state = load_file(copy / "text.safetensors")
    save_file({n.replace(TEXT, "model."): t for n, t in state.items()}, copy / "text.safetensors")
    (copy / "rest.safetensors").unlink()
    (copy / "model.safetensors.index.json").unlink()
    config = json.loads((copy / "config.json").read_text())["text_config"]
    (copy / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(copy), expected)
    with pytest.raises(SettingsError, match=r"parts asks for audio, but .* has text only"):
        gemma3n.load(copy, parts=["text", "audio"])


def test_released_files_of_the_old_spelling_load_alike(copy: Path) -> None:
    expected = logits(copy)
    config = json.loads((copy / "config.json").read_text())
    text = config["text_config"]
    rope = text.pop("rope_parameters")
    text["rope_theta"] = rope["full_attention"]["rope_theta"]
    text["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
    text |= {"rope_scaling": None, "torch_dtype": "bfloat16", "intermediate_size": 256}
    del text["layer_types"]
    (copy / "config.json").write_text(json.dumps(config))
    assert torch.equal(logits(copy), expected)


def test_an_export_without_the_stem_bias_has_a_bias_of_zero(copy: Path) -> None:
    bias = "model__vision_tower__timm_model__conv_stem__conv__bias"
    pixels = torch.rand(1, 3, 256, 256)
    change(copy, **{bias: torch.zeros(16, dtype=torch.bfloat16)})
    expected = gemma3n.load(copy, precision="float32").image_features(pixels)
    change(copy, **{bias: None})
    found = gemma3n.load(copy, precision="float32").image_features(pixels)
    assert torch.equal(found, expected)


def test_a_missing_a_strange_and_a_misshapen_tensor_are_refused(copy: Path) -> None:
    norm = "model__language_model__norm__weight"
    change(copy, **{norm: None})
    with pytest.raises(SettingsError, match=r"lacks 'model\.language_model\.norm\.weight'"):
        gemma3n.load(copy)
    change(copy, **{norm: torch.ones(65)})
    with pytest.raises(
        SettingsError, match=r"'model\.language_model\.norm\.weight'.*\[65\].*makes it \[64\]"
    ):
        gemma3n.load(copy)
    change(copy, **{norm: torch.ones(64), "model__language_model__bias": torch.ones(1)})
    with pytest.raises(SettingsError, match=r"holds 'model\.language_model\.bias', for which"):
        gemma3n.load(copy)
    change(copy, model__language_model__bias=None, transformer__wte=torch.ones(1))
    with pytest.raises(SettingsError, match=r"'transformer\.wte', which belongs to no part"):
        gemma3n.load(copy)


def test_a_folder_without_weights_or_with_half_of_them_is_refused(copy: Path) -> None:
    whole = (copy / "model.safetensors").read_bytes()
    (copy / "model.safetensors").write_bytes(whole[:1_000_000])
    with pytest.raises(SettingsError, match="download broke off"):
        gemma3n.load(copy)
    (copy / "model.safetensors").write_bytes(b"PK")
    with pytest.raises(SettingsError, match="not a whole safetensors file"):
        gemma3n.load(copy)
    (copy / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"PK" + bytes(9))
    with pytest.raises(SettingsError, match="header is no JSON"):
        gemma3n.load(copy)
    headers = ([1], {"model.a": 1}, {"model.a": {"dtype": "F32", "shape": [1]}})
    for header in headers:
        write_header(copy / "model.safetensors", header)
        with pytest.raises(SettingsError, match="header does not say dtype, shape and data_off"):
            gemma3n.load(copy)
    strange = {"dtype": "F8_E4M3", "shape": [0], "data_offsets": [0, 0]}
    write_header(copy / "model.safetensors", {"model.a": strange})
    with pytest.raises(SettingsError, match="tensors of type F8_E4M3; accepted are BF16, F16, F32"):
        gemma3n.load(copy)
    (copy / "model.safetensors").unlink()
    with pytest.raises(SettingsError, match=r"holds no \*\.safetensors"):
        gemma3n.load(copy)
    index = {"weight_map": {"a": "model-1.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(SettingsError, match=r"lacks model-1\.safetensors"):
        gemma3n.load(copy)


@pytest.mark.parametrize(
    "index", ["{", "[1]", "{}", '{"weight_map": ["a"]}', '{"weight_map": {"a": 1}}']
)
def test_an_index_that_is_none_is_named(copy: Path, index: str) -> None:
    (copy / "model.safetensors.index.json").write_text(index)
    with pytest.raises(SettingsError, match=r"index.json' (is not JSON|has no weight_map).*Downlo"):
        gemma3n.load(copy)


def test_a_tensor_is_called_as_in_its_file(copy: Path) -> None:
    checkpoint = Checkpoint(copy)
    for released in ("model.language_model.norm.weight", "model.language_model.absent.weight"):
        assert checkpoint.released("text." + released.split(".", 2)[2]) == released
    checkpoint.entries.clear()
    assert checkpoint.released("embed_audio.x") == "model.embed_audio.x"


def test_an_output_head_of_its_own_is_refused(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))
    with pytest.raises(SettingsError, match="output head of its own"):
        gemma3n.load(copy)


def test_a_scale_that_is_not_applied_may_be_in_the_file_all_the_same(copy: Path) -> None:
    applied = logits(copy)
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["altup_correct_scale"] = False
    (copy / "config.json").write_text(json.dumps(config))
    assert not torch.allclose(logits(copy), applied)
