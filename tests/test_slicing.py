import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import gemma3n
from gemma3n import NestedSize, SettingsError, slice_checkpoint

Arrays = Callable[[str], dict[str, Tensor]]


def digest(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


@pytest.mark.parametrize("name", ["e2b", "mix", "irregular"])
def test_a_slice_equals_the_reference_bit_for_bit_and_loads_again(
    checkpoint_folder: Path,
    tmp_path: Path,
    golden: Arrays,
    slices: dict[str, NestedSize],
    name: str,
) -> None:
    folder = slice_checkpoint(checkpoint_folder, slices[name], tmp_path / name)
    described = json.loads((checkpoint_folder.parent / "slices.json").read_text())[name]
    text = json.loads((folder / "config.json").read_text())["text_config"]
    assert {key: text[key] for key in described["text_config"]} == described["text_config"]

    written = load_file(folder / "model.safetensors")
    hashes = {key: digest(value) for key, value in written.items() if "language_model" in key}
    assert hashes == described["tensor_sha256"]
    original = load_file(checkpoint_folder / "model.safetensors")
    towers = [key for key in original if "language_model" not in key]
    assert all(torch.equal(written[key], original[key]) for key in towers)

    reference, model = golden("slices"), gemma3n.load(folder, precision="float32")
    logits = model.logits(reference["input_ids"])
    torch.testing.assert_close(logits, reference[f"{name}.logits"], atol=5e-4, rtol=0)


def test_a_slice_carries_all_that_belongs_to_a_checkpoint(
    checkpoint_folder: Path, tmp_path: Path
) -> None:
    folder = slice_checkpoint(checkpoint_folder, "full", tmp_path / "whole")
    assert {path.name for path in folder.iterdir()} >= {"tokenizer.model", "config.json"}
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]
    (tmp_path / "plain").mkdir()
    assert folder.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_loaded_nested_size_equals_the_slice_of_it(
    checkpoint_folder: Path, tmp_path: Path, slices: dict[str, NestedSize]
) -> None:
    ids = torch.tensor([[2, 9, 8, 77]])
    folder = slice_checkpoint(checkpoint_folder, slices["mix"], tmp_path / "mix")
    sliced = gemma3n.load(folder, precision="float32").logits(ids)
    for ple in ("mmap", "resident"):
        loaded = gemma3n.load(checkpoint_folder, slices["mix"], precision="float32", ple=ple)
        assert torch.equal(loaded.logits(ids), sliced)


def test_a_taken_folder_is_left_alone(checkpoint_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    with pytest.raises(SettingsError, match="exists and is not an empty folder"):
        slice_checkpoint(checkpoint_folder, "full", tmp_path)
    assert (tmp_path / "mine").read_text() == "kept"
    with pytest.raises(
        SettingsError, match=r"mine/out' cannot be made: .*\. Choose another folder"
    ):
        slice_checkpoint(checkpoint_folder, "full", tmp_path / "mine" / "out")


def test_folders_beside_a_slice_are_left_alone(checkpoint_folder: Path, tmp_path: Path) -> None:
    for name in ("out.partial", ".out"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("kept")
    slice_checkpoint(checkpoint_folder, "full", tmp_path / "out")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [".out", "out", "out.partial"]
    assert (tmp_path / "out.partial" / "mine").read_text() == "kept"


def test_a_slice_that_fails_leaves_nothing(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("gemma3n.slicing.write_shards", full_disk)
    with pytest.raises(OSError, match="no space left"):
        slice_checkpoint(checkpoint_folder, "full", tmp_path / "out")
    assert not list(tmp_path.iterdir())
