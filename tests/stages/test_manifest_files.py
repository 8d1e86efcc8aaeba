import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.errors import InputError
from stages.manifest_files import entries

ROWS = [
    {"audio": "a.wav", "text": 'she said "no, no"'},
    {"audio": "é.wav", "text": "two\nlines"},
    {"audio": "c.wav", "text": "[1] {x}, ]"},
]


def said(path: Path) -> list[Any]:
    """What is said where; an error as its text."""
    found = [entry.said for entry in entries(str(path))]
    return [str(one) if isinstance(one, InputError) else one for one in found]


def written(folder: Path, name: str, rows: list[dict[str, str]]) -> Path:
    path = folder / name
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if name.endswith(".parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    elif name.endswith(".gz"):
        path.write_bytes(gzip.compress(lines, mtime=0))
    elif name == "list.json":
        path.write_text(json.dumps(rows, indent=1), encoding="utf-8")
    elif name.endswith(".csv"):
        with path.open("w", encoding="utf-8", newline="") as file:
            table = csv.DictWriter(file, list(rows[0]), delimiter=";" if "excel" in name else ",")
            table.writeheader()
            table.writerows(rows)
    else:
        path.write_bytes(lines)
    return path


FORMATS = ["m.jsonl", "m.jsonl.gz", "lines.json", "list.json", "m.csv", "excel.csv", "m.parquet"]


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_says_the_same(tmp_path: Path, name: str) -> None:
    assert said(written(tmp_path, name, ROWS)) == ROWS


def test_a_quote_in_a_tsv_is_a_letter(tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    path.write_text('path\tsentence\na.mp3\t"Well" he said\nb.mp3\t"\n')
    assert said(path) == [
        {"path": "a.mp3", "sentence": '"Well" he said'},
        {"path": "b.mp3", "sentence": '"'},
    ]


def test_a_mark_of_byte_order_is_no_part_of_a_header(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text("audio,text\na.wav,\n", encoding="utf-8-sig")
    assert said(path) == [{"audio": "a.wav"}]


@pytest.mark.parametrize(
    ("name", "content", "errors"),
    [
        ("m.jsonl", b'{"a": 1}\n{oops\n[2]\n{"b": 2}', [(1, "is not JSON"), (2, "is a JSON list")]),
        ("m.json", b'[{"a": 1}, 2, {"b": 3}]', [(1, "is a JSON int")]),
        ("m.json", b'[{"a": 1}, {"b": oops}, {}]', [(1, "What follows is not read")]),
        ("m.json", b'[{"a": 1}', [(1, "is not JSON")]),
        ("m.json", b'{\n "data": []\n}', [(0, "accepted in a .json are one list of objects, and")]),
        ("m.json", b"hello", [(0, "begins with 'hello'; accepted in a .json")]),
        ("m.json", b'[{"a": "\xff"}]', [(0, "cannot be read to its end")]),
        ("m.csv", b"audio,text\na.wav,b,c\nb.wav\n", [(0, "has 3 cells, but the header names 2")]),
        ("m.csv", b"audio,text\na.wav,caf\xe9\nb.wav,x\n", [(0, "is not in UTF-8. Save the file")]),
        ("m.csv", "audio,text\na.wav,x\n".encode("utf-16"), [(0, "is not in UTF-8. Save it")]),
        ("m.csv", b'audio,text\nb,"' + b"x" * 200_000 + b"\nc,d\n", [(0, "is not CSV: field")]),
        ("m.csv", b"audio,text\ra.wav,x\r", [(0, "has a header that is not CSV")]),
        (
            "m.jsonl.gz",
            gzip.compress(b'{"a": 1}\n' * 99, mtime=0)[:-9],
            [(-1, "cannot be read to its end")],
        ),
        ("m.jsonl.gz", b"plain", [(0, "cannot be read to its end: Not a gzipped file")]),
        ("m.parquet", b"PAR1 plain", [(0, "cannot be read as parquet")]),
        ("m.jsonl/x", b"", [(0, "m.jsonl' is not a file but a folder")]),
    ],
)
def test_what_cannot_be_read_says_so_and_the_rest_goes_on(
    tmp_path: Path, name: str, content: bytes, errors: list[tuple[int, str]]
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    found = said(path if path.parent == tmp_path else path.parent)
    for place, error in errors:
        assert error in found[place]
    assert sum(isinstance(one, str) for one in found) == len(errors)


@pytest.mark.parametrize(("name", "place"), [("m.jsonl", "line 3"), ("m.json", "object 2")])
def test_an_entry_is_placed_as_its_author_counts(tmp_path: Path, name: str, place: str) -> None:
    path = tmp_path / name
    path.write_text('{"a": 1}\n\n{oops\n' if name == "m.jsonl" else '[{"a": 1},\n 7]')
    *_, last = entries(str(path))
    assert last.place == f"{place} of '{path}'"


def test_a_manifest_without_entries_has_none(tmp_path: Path) -> None:
    for name in ("m.jsonl", "m.json", "m.csv", "m.tsv"):
        (tmp_path / name).touch()
        assert said(tmp_path / name) == []
    (tmp_path / "m.json").write_text(" [ ]\n")
    assert said(tmp_path / "m.json") == []


def test_columns_are_checked_once_and_before_any_row(tmp_path: Path) -> None:
    def refuse(names: Any) -> None:
        raise InputError(f"has {list(names)}")

    for name in ("m.csv", "m.parquet"):
        (entry,) = entries(str(written(tmp_path, name, ROWS)), refuse)
        assert str(entry.said) == "has ['audio', 'text']"


JSON = st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.booleans()), max_size=3)


@given(st.lists(JSON, max_size=5), st.sampled_from([None, 1]), st.integers(1, 50))
def test_a_list_is_read_whatever_the_blocks_are(
    rows: list[dict[str, Any]], indent: int | None, block: int
) -> None:
    import tempfile
    from unittest.mock import patch

    with tempfile.TemporaryDirectory() as folder, patch("stages.manifest_files._BLOCK", block):
        path = Path(folder, "m.json")
        path.write_text(json.dumps(rows, indent=indent))
        assert said(path) == rows
