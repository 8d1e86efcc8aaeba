"""Quantised rows from a file: made once, the same as made in memory, and never another table's."""

import errno
import logging
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from gemma3n.checkpoint import PLE_TABLE, Checkpoint
from gemma3n.errors import SettingsError
from gemma3n.packed_file import packed_file, packing_of, quantize_ple, user_cache


@pytest.fixture
def checkpoint(tmp_path: Path, checkpoint_folder: Path) -> Checkpoint:
    """A copy of the tiny checkpoint."""
    shutil.copytree(checkpoint_folder, tmp_path / "checkpoint")
    return Checkpoint(tmp_path / "checkpoint", ["text"])


@pytest.mark.parametrize("bits", [8, 4])
def test_the_file_holds_each_layer_of_each_row_packed(
    tmp_path: Path, checkpoint: Checkpoint, bits: int
) -> None:
    packing, table = packing_of(checkpoint, bits), checkpoint.tensor(PLE_TABLE)
    blocks = packing.pack(table.unflatten(1, (-1, packing.ple)))
    ids, layers = torch.tensor([500, 3, 0, 3]), [0, 2, 3]
    rows = packed_file(checkpoint, bits, tmp_path / "kept").rows(ids, layers)
    assert torch.equal(rows, blocks[ids][:, layers])
    (path,) = (tmp_path / "kept").glob("*.safetensors")
    with safe_open(path, framework="pt") as file:
        assert file.metadata()["bits"] == str(bits)
        assert torch.equal(file.get_tensor("model.embed_tokens_per_layer.blocks"), blocks)


def test_a_file_is_made_once_and_anew_for_another_table(
    tmp_path: Path, checkpoint: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    kept = tmp_path / "kept"
    for _ in range(2):
        packed_file(checkpoint, 4, kept)
    assert sum(line.startswith("quantising") for line in caplog.messages) == 1
    weights = checkpoint.entries[PLE_TABLE].file
    os.utime(weights, ns=(0, weights.stat().st_mtime_ns + 1))
    packed_file(checkpoint, 4, kept)
    assert len(list(kept.glob("*.safetensors"))) == 2
    assert not list(kept.glob(".*"))  # nothing half-written is left


def test_another_checkpoints_file_is_refused(tmp_path: Path, checkpoint: Checkpoint) -> None:
    kept = tmp_path / "kept"
    packed_file(checkpoint, 4, kept)
    (path,) = kept.glob("*.safetensors")
    quantize_ple(checkpoint, 8, path)
    with pytest.raises(SettingsError, match=r"is not this checkpoint's PLE table in 4 bits: .*'8'"):
        packed_file(checkpoint, 4, kept)


def test_a_disk_without_room_is_told_and_nothing_stays(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("gemma3n.save.write_file", full)
    with pytest.raises(SettingsError, match=r"cannot be written: No space .* ple\.folder, or set"):
        quantize_ple(checkpoint, 4, tmp_path / "kept" / "a.safetensors")
    assert not list((tmp_path / "kept").iterdir())
    monkeypatch.undo()
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match=r"'.*file', where the PLE table is kept in 4 bits"):
        packed_file(checkpoint, 4, tmp_path / "file")


def test_files_are_kept_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "gemma3n"
