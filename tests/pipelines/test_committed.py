import logging
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.committed import Committed, Listed, UnreadablePartError, part_files, read_part
from stages.write import PARTS, part_schema


def row(item: str, segment: int = 0, place: int = 0, **more: Any) -> dict[str, Any]:
    start = {"start_s": 0.0, "end_s": 1.0}
    return {"item": item, "segment": segment, "place": place, "last": True, **start, **more}


def commit(folder: Path, name: str, rows: list[dict[str, Any]], group: int = 1000) -> Path:
    (folder / PARTS).mkdir(exist_ok=True)
    part = folder / PARTS / f"part-{name}.parquet"
    pq.write_table(pa.Table.from_pylist(rows, part_schema()), part, row_group_size=group)
    return part


def texts(folder: Path) -> list[list[str]]:
    with closing(Committed(part_files(folder))) as committed:
        return [[row["text"] for row in rows] for rows in committed.items()]


def test_the_list_says_which_items_are_whole_good_and_timed(tmp_path: Path) -> None:
    rows = [
        row("d", place=0, last=False, text="x"),
        row("c", place=1, text="x"),
        row("b", place=2, text="x", start_s=None),
        row("a", place=3, error_stage="read"),
        row("a", 2, place=3, text="x"),
        row("e", 1, place=4, text="x"),
    ]
    commit(tmp_path, "1", rows)
    with closing(Committed(part_files(tmp_path))) as committed:
        assert list(committed.listed()) == [
            Listed("d", complete=False, good=True, timed=True),
            Listed("c", complete=True, good=True, timed=True),
            Listed("b", complete=True, good=True, timed=False),
            Listed("a", complete=True, good=True, timed=True),  # a failed one was the last
            Listed("e", complete=False, good=True, timed=True),
        ]


def test_an_item_that_runs_saw_at_several_places_stays_one(tmp_path: Path) -> None:
    commit(tmp_path, "1", [row("a", 0, 2, last=False, text="a0"), row("b", 0, 3, text="b")])
    commit(tmp_path, "2", [row("a", 1, 5, text="a1")])
    assert texts(tmp_path) == [["a0", "a1"], ["b"]]


@pytest.mark.parametrize("kept", [1, 512])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_rows_come_in_order_from_however_many_parts_and_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, at_once: int
) -> None:
    monkeypatch.setattr("pipelines.committed._KEPT_TABLES", kept)
    monkeypatch.setattr("pipelines.committed._AT_ONCE", at_once)
    rows = [
        row(f"i{i}", s, i, last=s == 2, text=f"{i}.{s}") for s in (2, 0, 1) for i in (3, 1, 4, 0, 2)
    ]
    for number in range(0, len(rows), 5):
        commit(tmp_path, str(number), rows[number : number + 5], group=2)
    assert texts(tmp_path) == [[f"{i}.0", f"{i}.1", f"{i}.2"] for i in range(5)]


def damaged(part: Path, how: str) -> None:
    whole = part.read_bytes()
    match how:
        case "empty":
            part.write_bytes(b"")
        case "truncated":
            part.write_bytes(whole[:-20])
        case "no parquet":
            part.write_text("item,text")
        case "a folder":
            part.unlink()
            part.mkdir()
        case "other columns":
            pq.write_table(pa.table({"item": ["a"]}), part)
        case "other types":
            values = {name: ["x"] for name in part_schema().names}
            pq.write_table(pa.table(values), part)
        case "nameless rows":
            nameless = [row("a", text="bad"), row("b") | {"item": None}]
            pq.write_table(pa.Table.from_pylist(nameless, part_schema()), part)
        case "another bit":
            table = pa.Table.from_pylist([row("z", text="damaged")], part_schema())
            pq.write_table(table, part, compression="none", write_page_checksum=True)
            part.write_bytes(part.read_bytes().replace(b"damaged", b"damagee", 1))
        case "no UTF-8":
            table = pa.Table.from_pylist([row("z", text="damaged")], part_schema())
            pq.write_table(table, part, compression="none")
            part.write_bytes(part.read_bytes().replace(b"damaged", b"d\xff\xffaged"))


@pytest.mark.parametrize(
    "how",
    [
        "empty",
        "truncated",
        "no parquet",
        "a folder",
        "other columns",
        "other types",
        "nameless rows",
        "another bit",
        "no UTF-8",
    ],
)
def test_a_part_that_cannot_be_read_is_named_and_passed_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    commit(tmp_path, "1", [row("a", text="good")])
    part = commit(tmp_path, "2", [row("z", 0, 1, text="x")])
    commit(tmp_path, "3", [row("b", 0, 2, text="too")])
    damaged(part, how)
    assert texts(tmp_path) == [["good"], ["too"]]
    (said,) = [record.message for record in caplog.records if record.levelno == logging.WARNING]
    assert said.startswith(f"passed over '{part}': ")
    assert said.endswith("Delete it, and the same command makes up for what it held.")
    with pytest.raises(UnreadablePartError, match="A part is a Parquet file of a run's results"):
        list(read_part(part))


def test_parts_are_read_the_earliest_first(tmp_path: Path) -> None:
    parts = [commit(tmp_path, name, []) for name in ("02", "01", "03")]
    assert part_files(tmp_path) == sorted(parts)
    assert part_files(tmp_path / "nowhere") == []
