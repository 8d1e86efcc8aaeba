from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gemma3n.errors import InputError
from stages.manifest import manifest_rows
from stages.media import Media
from stages.opened import opened
from stages.parquet_cells import read_cell
from stages.row import Row

FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def table(folder: Path, group: int = 3, **columns: pa.Array) -> Path:
    path = folder / "m.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def rows_of(path: Path) -> list[Row]:
    return list(manifest_rows(path, [Media.audio, Media.image]))


def content(path: str) -> bytes:
    with opened(path) as file:
        return file.read()


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    cells = [{"bytes": f"clip {n}".encode(), "path": f"/once/{n}.mp3"} for n in range(40)]
    return table(
        tmp_path, 7, audio=pa.array(cells, FILE), text=pa.array([f"t{n}" for n in range(40)])
    )


def test_a_cell_is_a_file_named_as_it_says(clips: Path) -> None:
    rows = rows_of(clips)
    assert [row["item"] for row in rows] == [f"{n}.mp3" for n in range(40)]
    assert rows[9]["audio_paths"] == [f"parquet-cell:{clips}#9.0/audio/9.mp3"]
    assert rows[9]["reference"] == "t9"
    assert rows[9]["extra"] == '{"audio": "9.mp3"}'
    assert [content(row["audio_paths"][0]) for row in rows] == [
        f"clip {n}".encode() for n in range(40)
    ]


def test_cells_may_be_asked_for_in_any_order_and_by_many_threads(clips: Path) -> None:
    paths = [row["audio_paths"][0] for row in rows_of(clips)]
    found: dict[int, bytes] = {}

    def read(numbers: list[int]) -> None:
        for number in numbers:
            found[number] = content(paths[number])

    orders = [[*range(0, 40, 2)], [*range(39, 0, -2)]]
    threads = [Thread(target=read, args=(numbers,)) for numbers in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: f"clip {n}".encode() for n in range(40)}


def test_a_list_of_cells_is_several_pictures(tmp_path: Path) -> None:
    one = [{"bytes": b"x", "path": "x.png"}, {"bytes": b"y", "path": None}]
    cells = pa.array([one, None, one[:1]], pa.list_(FILE))
    rows = rows_of(table(tmp_path, images=cells, prompt=pa.array(["a", "b", "c"])))
    assert [len(row["image_paths"]) for row in rows] == [2, 0, 1]
    assert [content(path) for path in rows[0]["image_paths"]] == [b"x", b"y"]


@pytest.mark.parametrize(
    "kind", [pa.binary(), pa.large_binary(), pa.struct({"bytes": pa.binary()})]
)
def test_bytes_without_a_name_are_of_the_kind_that_their_column_is_called(
    tmp_path: Path, kind: pa.DataType
) -> None:
    value: Any = {"bytes": b"x"} if pa.types.is_struct(kind) else b"x"
    columns = {"image": pa.array([value], kind), "hash": pa.array([b"h"], pa.binary())}
    (row,) = rows_of(table(tmp_path, **columns))
    assert row["item"] == "1"
    assert row["audio_paths"] == []
    assert [content(path) for path in row["image_paths"]] == [b"x"]
    assert row["extra"] is None


def test_a_cell_without_bytes_names_a_file_beside_its_table(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"sound")
    path = table(tmp_path, audio=pa.array([{"bytes": None, "path": "a.wav"}], FILE))
    (row,) = rows_of(path)
    assert content(row["audio_paths"][0]) == b"sound"


def test_a_cell_that_holds_nothing_is_an_error(tmp_path: Path) -> None:
    cells = [{"bytes": b"", "path": None}, {"bytes": None, "path": None}]
    for row in rows_of(table(tmp_path, audio=pa.array(cells, FILE))):
        with pytest.raises(InputError, match=r"is an empty cell, 0 bytes. Fill it"):
            content(row["audio_paths"][0])


def test_a_table_that_is_gone_is_an_error_of_its_rows(clips: Path) -> None:
    addresses = [row["audio_paths"][0] for row in rows_of(clips)]
    clips.write_bytes(clips.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"cannot be read: .* Copy the parquet file anew"):
        read_cell(addresses[0])
    clips.unlink()
    with pytest.raises(InputError, match=r"m\.parquet' cannot be opened: No such file"):
        read_cell(addresses[1])


def test_names_beside_a_cell_are_no_files(tmp_path: Path) -> None:
    cells = pa.array([{"bytes": b"x", "path": "x.flac"}], FILE)
    (row,) = rows_of(table(tmp_path, audio=cells, file=pa.array(["/home/them/x.flac"])))
    assert len(row["audio_paths"]) == 1


def test_a_table_of_other_things_is_one_error(tmp_path: Path) -> None:
    (row,) = rows_of(table(tmp_path, a=pa.array([1, 2]), b=pa.array(["x", "y"])))
    assert row["item"] == "m.parquet"
    assert row["error"]
    assert "has the columns a, b; none of them says what to work on" in row["error"]["message"]
