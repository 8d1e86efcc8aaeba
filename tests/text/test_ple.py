import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.text.ple import FileTable, consecutive, resident_table


@given(
    layers=st.lists(st.integers(0, 4), min_size=1, unique=True).map(sorted),
    ids=st.lists(st.integers(0, 6), max_size=9),
)
def test_a_table_gives_the_same_rows_from_its_file_and_from_memory_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, layers: list[int], ids: list[int]
) -> None:
    weight, tokens = torch.randn(7, 5 * 3).bfloat16(), torch.tensor(ids, dtype=torch.int64)
    path = tmp_path_factory.mktemp("ple") / "table"
    path.write_bytes(b"header" + weight.view(torch.uint8).numpy().tobytes())
    in_file = FileTable(path, 6, weight.shape, weight.dtype, 3)
    in_memory = resident_table(weight, 3, layers, pinned=False)
    expected = weight.view(7, 5, 3)[tokens][:, layers]
    assert torch.equal(in_file.rows(tokens, layers), expected)
    assert torch.equal(in_memory.rows(tokens, layers), expected)


def test_a_file_that_ends_within_the_table_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "table").write_bytes(bytes(40))
    table = FileTable(tmp_path / "table", 0, (7, 6), torch.float32, 2)
    with pytest.raises(OSError, match="ended within row 1 of the PLE table"):
        table.rows(torch.tensor([1]), range(3))


def test_a_resident_table_holds_only_the_kept_layers() -> None:
    table = resident_table(torch.randn(7, 5 * 3), 3, [0, 4], pinned=False)
    assert table.weight.shape == (7, 2, 3)


@given(st.lists(st.integers(0, 20), unique=True).map(sorted))
def test_runs_of_layers_are_the_layers(layers: list[int]) -> None:
    runs = consecutive(layers)
    assert [layer for run in runs for layer in run] == layers
    assert all(a.stop < b.start for a, b in itertools.pairwise(runs))
