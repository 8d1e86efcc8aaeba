"""A model says the same wherever its PLE table is, and nearly the same with quantised rows."""

from pathlib import Path

import pytest
import torch

import gemma3n
from gemma3n.errors import SettingsError
from gemma3n.tables import beside, file_table
from gemma3n.text.ple import PackedTable
from gemma3n.text.row_cache import RowCache

IDS = torch.tensor([[2, 9, 8, 9, 300]])


def loaded(checkpoint: Path, **ple: object) -> gemma3n.Gemma3n:
    placed = gemma3n.Ple(**ple)  # type: ignore[arg-type]
    return gemma3n.load(checkpoint, parts=["text"], precision="float32", ple=placed)


@pytest.mark.parametrize("bits", [8, 4])
def test_quantised_rows_are_the_same_from_memory_and_from_a_file(
    checkpoint_folder: Path, tmp_path: Path, model: gemma3n.Gemma3n, bits: int
) -> None:
    resident = loaded(checkpoint_folder, placement="resident", bits=bits)
    mapped = loaded(checkpoint_folder, bits=bits, folder=str(tmp_path))
    said = resident.logits(IDS)
    assert torch.equal(mapped.logits(IDS), said)
    off = (said - model.logits(IDS)).abs().max()
    assert 0 < off < {8: 0.5, 4: 8.0}[bits]
    assert mapped.text.table.traffic.bytes < model.config.text.num_hidden_layers * 4 * 24


def test_a_row_cache_changes_no_token_of_any_nested_size(
    checkpoint_folder: Path, model: gemma3n.Gemma3n, slices: dict[str, gemma3n.NestedSize]
) -> None:
    other = loaded(checkpoint_folder)
    cached = beside(
        other.text.table,
        *(other.checkpoint, other.size, gemma3n.Ple(cache_rows=3), other.device),
        apart=True,
    )
    other.text.table = cached
    prompts = [[2, 9, 8, 9, 300], [5]]
    for nested in ("full", slices["mix"], "full"):
        said = other.generate_ids(prompts, max_new_tokens=5, stop_ids=[], nested=nested)
        assert said == model.generate_ids(prompts, max_new_tokens=5, stop_ids=[], nested=nested)
    assert isinstance(cached, RowCache)
    assert cached.traffic.rows > cached.traffic.moved > 0


def test_what_is_cached_is_packed(checkpoint_folder: Path, tmp_path: Path) -> None:
    model = loaded(checkpoint_folder)
    ple = gemma3n.Ple(bits=4, folder=str(tmp_path), cache_rows=5)
    blocks = file_table(model.checkpoint, ple)
    table = beside(blocks, model.checkpoint, model.size, ple, model.device, apart=True)
    layers = model.size.layers(model.config.text)
    ids = torch.tensor([3, 1, 3])
    assert isinstance(table, PackedTable)
    assert torch.equal(table.rows(ids, layers), table.packing.unpack(blocks.rows(ids, layers)))
    assert isinstance(table.table, RowCache)
    assert table.table._kept is not None
    assert table.table._kept.dtype == torch.uint8


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"placement": "gpu"}, "ple='gpu'; accepted are mmap, resident. Choose"),
        (
            {"bits": 5},
            r"ple\.bits=5; accepted are 16 .*, 8 and 4. Choose",
        ),
        ({"cache_rows": -1}, "ple.cache_rows=-1; at least 0, which is no cache. Raise it."),
    ],
)
def test_what_no_table_can_have_is_refused(wrong: dict[str, object], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        gemma3n.Ple(**wrong)  # type: ignore[arg-type]
