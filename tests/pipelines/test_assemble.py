import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.assemble import assemble, clear_txt, txt_names
from stages.model import Load
from stages.row import Row, light_row
from stages.write import PARTS, Format, SinkSettings, Write

EVERY = list(Format)


def done(item: str, text: str, place: int = 0, segment: int = 0, **more: Any) -> Row:
    row: dict[str, Any] = {
        **light_row(item, reference="r", extra='{"speaker": "Zoë"}'),
        "segment": segment,
        "place": place,
        "start_s": float(segment),
        "end_s": segment + 1.0,
        "audio_s": 1.0,
        "text": text,
        "new_tokens": 1,
        "logprob": -0.5,
        "size": "small",
        "note": None,
    }
    return Row(**{**row, **more})  # type: ignore[typeddict-item]


def bad(item: str, place: int = 0, segment: int = 0) -> Row:
    row = light_row(item, error="broken")
    row.update({"place": place, "segment": segment})
    return row


def commit(folder: Path, *batches: list[Row]) -> None:
    write = Write(SinkSettings(), Load(folder="nowhere"), folder)
    for batch in batches:
        write(batch)


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def texts(folder: Path) -> dict[str, str | None]:
    return {row["item"]: row["text"] for row in lines(folder / "results.jsonl")}


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): path.read_text(encoding="utf-8", errors="replace")
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_an_item_is_a_line_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    commit(tmp_path, [done("a.wav", " hello\n", note="cut at 1 tokens")])
    assert assemble(tmp_path, [Format.jsonl]) == 0
    assert lines(tmp_path / "results.jsonl") == [
        {
            "item": "a.wav",
            "text": "hello",
            "segments": [{"start_s": 0.0, "end_s": 1.0, "text": " hello\n", "logprob": -0.5}],
            "size": "small",
            "note": "cut at 1 tokens",
            "reference": "r",
            "extra": {"speaker": "Zoë"},
            "error": None,
        }
    ]
    assert (tmp_path / "failures.jsonl").read_text() == ""


def test_segments_are_joined_in_order_whatever_order_they_came_in(tmp_path: Path) -> None:
    first = done("a", "one", segment=0, note="x", last=False)
    commit(tmp_path, [done("a", "three", segment=2, note="y")], [done("a", " two ", segment=1)])
    commit(tmp_path, [first], [done("b", "", place=1), done("c", "x", place=2, note="x")])
    assemble(tmp_path, [Format.jsonl])
    a, b, _ = lines(tmp_path / "results.jsonl")
    assert a["text"] == "one two three"
    assert [s["start_s"] for s in a["segments"]] == [0.0, 1.0, 2.0]
    assert a["note"] == "x; y"
    assert (b["text"], b["note"]) == ("", None)


def test_items_are_in_the_order_of_the_source(tmp_path: Path) -> None:
    commit(tmp_path, [done("z", "", 3), done("a", "", 1)], [done("m", "", 2), bad("c", 0)])
    assemble(tmp_path, [Format.jsonl])
    assert list(texts(tmp_path)) == ["c", "a", "m", "z"]


def test_a_segment_that_was_committed_twice_counts_once_the_later_one(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "old"), bad("b", 1)], [done("a", "new"), bad("b", 1)])
    assert assemble(tmp_path, EVERY) == 1
    assert texts(tmp_path) == {"a": "new", "b": None}


@pytest.mark.parametrize("order", [1, -1])
def test_a_good_segment_counts_before_a_failed_one(tmp_path: Path, order: int) -> None:
    commit(tmp_path, *[[done("a", "good")], [bad("a")]][::order])
    assert assemble(tmp_path, [Format.jsonl]) == 0
    assert texts(tmp_path) == {"a": "good"}


def test_failures_are_listed_with_stage_and_message(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "x"), bad("b", 1), bad("c", 2, segment=3)])
    assert assemble(tmp_path, []) == 2
    assert lines(tmp_path / "failures.jsonl") == [
        {"item": "b", "segment": 0, "stage": "read", "message": "broken"},
        {"item": "c", "segment": 3, "stage": "read", "message": "broken"},
    ]
    assert not (tmp_path / "results.jsonl").exists()


def test_an_item_with_a_failed_segment_keeps_the_others_and_says_so(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "one"), bad("a", segment=1), done("a", "three", segment=2)])
    assert assemble(tmp_path, EVERY) == 1
    (item,) = lines(tmp_path / "results.jsonl")
    assert item["text"] == "one three"
    assert item["error"] == {"stage": "read", "message": "broken"}
    assert tree(tmp_path / "txt") == {"a.txt": "one three\n"}


def test_the_table_holds_the_same_as_the_lines(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "one"), done("b", "two", 1), bad("c", 2)])
    assemble(tmp_path, EVERY)
    table = pq.ParquetFile(tmp_path / "results.parquet").read()
    as_lines = [{**row, "extra": json.loads(row["extra"] or "null")} for row in table.to_pylist()]
    assert as_lines == lines(tmp_path / "results.jsonl")


def test_text_files_mirror_the_source_and_a_failed_item_has_none(tmp_path: Path) -> None:
    commit(tmp_path, [done("talks/day 1/a.wav", "one"), done("q7", "two"), bad("b.wav")])
    assemble(tmp_path, [Format.txt])
    assert tree(tmp_path / "txt") == {"talks/day 1/a.txt": "one\n", "q7.txt": "two\n"}


def test_assembling_again_gives_the_same_and_leaves_nothing_old(tmp_path: Path) -> None:
    commit(tmp_path, [done("day/a.wav", "one"), done("b", "two", 1)])
    assemble(tmp_path, EVERY)
    before = tree(tmp_path)
    assemble(tmp_path, EVERY)
    assert tree(tmp_path) == before
    assert tree(tmp_path / "txt") == {"day/a.txt": "one\n", "b.txt": "two\n"}
    commit(tmp_path, [done("day/a.mp3", "three", 2)])
    assemble(tmp_path, [Format.txt])
    assert set(tree(tmp_path / "txt")) == {"day/a.wav.txt", "day/a.mp3.txt", "b.txt"}


def test_half_written_parts_are_passed_over(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "x")])
    (tmp_path / PARTS / ".part-9.parquet.half").write_bytes(b"half")
    assemble(tmp_path, [Format.jsonl])
    assert texts(tmp_path) == {"a": "x"}


def test_a_run_without_parts_is_assembled_to_nothing(tmp_path: Path) -> None:
    assert assemble(tmp_path, EVERY) == 0
    assert (tmp_path / "results.jsonl").read_text() == ""
    assert pq.ParquetFile(tmp_path / "results.parquet").metadata.num_rows == 0


def test_a_folder_that_is_called_like_a_setting_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "nested=small"
    commit(folder, [done("a", "x")])
    assemble(folder, [Format.parquet])
    assert "nested" not in pq.ParquetFile(folder / "results.parquet").schema_arrow.names


@pytest.mark.parametrize(
    ("items", "names"),
    [
        (["a.wav", "b/c.mp3"], ["a.txt", "b/c.txt"]),
        (["a.wav", "a.mp3", "b.wav"], ["a.wav.txt", "a.mp3.txt", "b.txt"]),
        (["A.wav", "a.mp3"], ["A.wav.txt", "a.mp3.txt"]),
        (["v1.5", "a.b.wav"], ["v1.5.txt", "a.b.txt"]),
        (["../x", "/etc/passwd", "a/../../b"], ["__/x.txt", "_/etc/passwd.txt", "a/__/__/b.txt"]),
        (["a\\b", "c:d", "e\0f\n"], ["a_b.txt", "c_d.txt", "e_f_.txt"]),
        (["", ".", "a/"], ["_.txt", "_-2.txt", "a/_.txt"]),
        (["a", "a.txt/b"], ["a-2.txt", "a.txt/b.txt"]),
        (["a:b", "a_b", "a?b"], ["a_b.txt", "a_b-2.txt", "a_b-3.txt"]),
        (["x" * 300 + ".wav"], ["x" * 200 + ".txt"]),
    ],
)
def test_every_item_has_a_file_of_its_own_below_the_folder(
    items: list[str], names: list[str]
) -> None:
    assert list(txt_names(items).values()) == names


PIECES = st.sampled_from(["a", "A", "..", ".", "", "a.wav", "a.txt", "~", "\\", "é" * 150, "\n"])


@given(st.lists(st.lists(PIECES, max_size=4).map("/".join), unique=True, max_size=6))
def test_whatever_items_are_called_their_files_can_be_written(items: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for item, file in txt_names(items).items():
            path = folder / "txt" / file
            assert (folder / "txt") in path.resolve().parents
            path.parent.mkdir(parents=True, exist_ok=True)
            assert not path.exists()
            path.write_text(item)


def test_text_files_that_no_assembly_wrote_are_left_alone(tmp_path: Path) -> None:
    commit(tmp_path, [done("day/a.wav", "one")])
    assemble(tmp_path, EVERY)
    mine = tmp_path / "txt/day/notes.txt"
    mine.write_text("mine")
    clear_txt(tmp_path)
    assert tree(tmp_path / "txt") == {"day/notes.txt": "mine"}
