import itertools
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.text.packing import Packing
from gemma3n.text.ple import FileTable, PackedTable, consecutive, resident_table


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


def written(folder: Path) -> tuple[FileTable, torch.Tensor]:
    """A table of 7 rows, 5 layers, 3 columns each in a file, and its rows by layer."""
    weight = torch.randn(7, 5 * 3).bfloat16()
    (folder / "table").write_bytes(b"header" + weight.view(torch.uint8).numpy().tobytes())
    return FileTable(folder / "table", 6, weight.shape, weight.dtype, 3), weight.view(7, 5, 3)


@pytest.mark.parametrize("absent", ["preadv", "RWF_NOWAIT", "posix_fadvise"])
def test_a_table_is_read_on_systems_that_lack_a_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, absent: str
) -> None:
    monkeypatch.delattr(os, absent)
    table, weight = written(tmp_path)
    ids = torch.tensor([6, 0, 6, 3])
    table.ahead(ids, [1, 4])
    assert torch.equal(table.rows(ids, [1, 4]), weight[ids][:, [1, 4]])


@pytest.mark.parametrize("why", [BlockingIOError(11, "not here yet"), OSError(95, "cannot tell")])
def test_rows_that_the_page_cache_has_not_are_asked_for_at_once_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, why: OSError
) -> None:
    table, weight = written(tmp_path)
    done: list[tuple[str, int]] = []
    read, advise = os.preadv, os.posix_fadvise

    def preadv(file: int, buffers: list[memoryview], start: int, flags: int = 0) -> int:
        if flags:
            raise why
        done.append(("read", start))
        return read(file, buffers, start)

    def posix_fadvise(file: int, start: int, length: int, advice: int) -> None:
        done.append(("advise", start))
        advise(file, start, length, advice)

    monkeypatch.setattr(os, "preadv", preadv)
    monkeypatch.setattr(os, "posix_fadvise", posix_fadvise)
    ids = torch.tensor([6, 0, 6, 3])
    assert torch.equal(table.rows(ids, [1, 2]), weight[ids][:, 1:3])
    starts = [6 + token * 30 + 6 for token in (0, 3, 6)]
    assert done == [("advise", at) for at in starts] + [("read", at) for at in starts]


def test_a_table_counts_what_is_asked_and_what_comes(tmp_path: Path) -> None:
    table, _ = written(tmp_path)
    table.rows(torch.tensor([6, 0, 6, 3]), [1, 3])
    before = table.traffic.copy()
    table.rows(torch.tensor([2]), range(5))
    assert (before.rows, before.moved, before.bytes) == (4, 3, 3 * 3 * 3 * 2)  # layers 1 to 3
    more = table.traffic.since(before)
    assert (more.rows, more.moved, more.bytes) == (1, 1, 30)
    assert more.wait_seconds > 0
    assert before.hit_rate == 0.25


@pytest.mark.parametrize("bits", [8, 4])
def test_a_packed_table_is_the_same_from_any_place(bits: int) -> None:
    weight, packing, layers = torch.randn(7, 5 * 3), Packing(3, bits), [0, 3, 4]
    table = PackedTable(resident_table(weight, 3, layers, False, packing), packing)
    ids = torch.tensor([6, 0, 6])
    blocks = packing.pack(weight.view(7, 5, 3))
    assert torch.equal(table.rows(ids, [0, 4]), packing.unpack(blocks)[ids][:, [0, 4]])
    assert table.traffic.bytes == 3 * 2 * packing.block_bytes


def test_a_resident_table_holds_only_the_kept_layers() -> None:
    table = resident_table(torch.randn(7, 5 * 3), 3, [0, 4], pinned=False)
    assert table.weight.shape == (7, 2, 3)


@given(st.lists(st.integers(0, 20), unique=True).map(sorted))
def test_runs_of_layers_are_the_layers(layers: list[int]) -> None:
    runs = consecutive(layers)
    assert [layer for run in runs for layer in run] == layers
    assert all(a.stop < b.start for a, b in itertools.pairwise(runs))
