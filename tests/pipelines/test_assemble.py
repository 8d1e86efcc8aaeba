import csv
import json
import logging
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.assemble import Assembled, assemble
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
    assert assemble(tmp_path, [Format.jsonl]) == Assembled(items=1)
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
    assert assemble(tmp_path, EVERY) == Assembled(items=2, failed=1)
    assert texts(tmp_path) == {"a": "new", "b": None}


@pytest.mark.parametrize("order", [1, -1])
def test_a_good_segment_counts_before_a_failed_one(tmp_path: Path, order: int) -> None:
    commit(tmp_path, *[[done("a", "good")], [bad("a")]][::order])
    assert assemble(tmp_path, [Format.jsonl]).failed == 0
    assert texts(tmp_path) == {"a": "good"}


def test_failures_are_listed_with_stage_and_message(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "x"), bad("b", 1), done("c", "y", 2), bad("c", 2, segment=1)])
    assert assemble(tmp_path, []).failed == 2
    assert lines(tmp_path / "failures.jsonl") == [
        {"item": "b", "segment": 0, "stage": "read", "message": "broken"},
        {"item": "c", "segment": 1, "stage": "read", "message": "broken"},
    ]
    assert not (tmp_path / "results.jsonl").exists()


def test_an_item_with_a_failed_segment_keeps_the_others_and_says_so(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "one"), bad("a", segment=1), done("a", "three", segment=2)])
    assert assemble(tmp_path, EVERY).failed == 1
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


# Items that are not whole


def test_an_item_counts_when_all_its_segments_are_there(tmp_path: Path) -> None:
    commit(tmp_path, [done("whole", "x"), done("b", "one", 1, last=False), done("b", "3", 1, 2)])
    assert assemble(tmp_path, EVERY) == Assembled(items=1, incomplete=1)
    assert texts(tmp_path) == {"whole": "x"}
    assert set(tree(tmp_path / "txt")) == {"whole.txt"}
    commit(tmp_path, [done("b", "two", 1, 1, last=False)])
    assert assemble(tmp_path, EVERY) == Assembled(items=2)
    assert texts(tmp_path) == {"whole": "x", "b": "one two 3"}


def test_an_item_whose_last_segment_is_to_come_is_in_no_output(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    half = {**bad("a", 0, 1), "last": False}
    commit(tmp_path, [done("a", "one", last=False), Row(**half)])  # type: ignore[typeddict-item]
    assert assemble(tmp_path, EVERY) == Assembled(incomplete=1)
    assert caplog.messages == ["1 items are incomplete, and left out until they are whole"]
    for name in ("failures.jsonl", "results.jsonl"):
        assert (tmp_path / name).read_text() == ""
    assert pq.ParquetFile(tmp_path / "results.parquet").metadata.num_rows == 0
    assert not {"txt", "srt", "vtt"} & {path.name for path in tmp_path.iterdir()}


def test_a_failed_segment_may_be_the_last(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "one", last=False), bad("a", segment=1)])
    assert assemble(tmp_path, [Format.jsonl]) == Assembled(items=1, failed=1)
    assert texts(tmp_path) == {"a": "one"}


# Parts


def test_half_written_parts_are_passed_over(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", "x")])
    (tmp_path / PARTS / ".part-9.parquet.half").write_bytes(b"half")
    assemble(tmp_path, [Format.jsonl])
    assert texts(tmp_path) == {"a": "x"}


def test_a_run_without_parts_is_assembled_to_nothing(tmp_path: Path) -> None:
    assert assemble(tmp_path, EVERY) == Assembled()
    assert (tmp_path / "results.jsonl").read_text() == ""
    assert pq.ParquetFile(tmp_path / "results.parquet").metadata.num_rows == 0


def test_a_folder_that_is_called_like_a_setting_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "nested=small"
    commit(folder, [done("a", "x")])
    assemble(folder, [Format.parquet])
    assert "nested" not in pq.ParquetFile(folder / "results.parquet").schema_arrow.names


# Formats


def test_every_recording_has_subtitles_and_one_without_speech_has_none_in_them(
    tmp_path: Path,
) -> None:
    commit(tmp_path, [done("day/a.wav", "one", last=False), done("day/a.wav", "two", segment=1)])
    commit(tmp_path, [done("b.wav", "", 1), bad("c.wav", 2)])
    assemble(tmp_path, [Format.srt, Format.vtt])
    assert tree(tmp_path / "srt") == {
        "day/a.srt": "1\n00:00:00,000 --> 00:00:01,000\none\n\n"
        "2\n00:00:01,000 --> 00:00:02,000\ntwo\n\n",
        "b.srt": "",
    }
    assert tree(tmp_path / "vtt") == {
        "day/a.vtt": "WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\none\n\n"
        "2\n00:00:01.000 --> 00:00:02.000\ntwo\n\n",
        "b.vtt": "WEBVTT\n\n",
    }


def test_what_has_no_times_has_no_subtitles_and_the_log_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    commit(tmp_path, [done(f"{n}.png", "a cow", n, start_s=None, end_s=None) for n in range(3)])
    assemble(tmp_path, EVERY)
    (said,) = caplog.messages
    assert re.match("no srt or vtt: none of 3 items has times. .* Ask for other sink.formats", said)
    assert not {"srt", "vtt"} & {path.name for path in tmp_path.iterdir()}
    assert len(tree(tmp_path / "txt")) == 3


@pytest.mark.parametrize("formats", [[Format.txt], [Format.srt]])
def test_nothing_is_said_of_subtitles_that_nobody_asked_for_or_that_some_item_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, formats: list[Format]
) -> None:
    commit(tmp_path, [done("a.png", "a cow", start_s=None, end_s=None)])
    if Format.srt in formats:
        commit(tmp_path, [done("a.wav", "moo", 1)])
    assemble(tmp_path, formats)
    assert caplog.messages == []


def test_formats_that_are_not_asked_for_again_are_taken_away(tmp_path: Path) -> None:
    commit(tmp_path, [done("day/a.wav", "one")])
    assemble(tmp_path, EVERY)
    for mine in ("txt/day/notes.txt", "results.txt"):
        (tmp_path / mine).write_text("mine")
    assemble(tmp_path, [Format.csv])
    assert {name for name in tree(tmp_path) if not name.startswith("results/")} == {
        "txt/day/notes.txt",
        "results.txt",
        "failures.jsonl",
        "results.csv",
    }
    assert not (tmp_path / "srt").exists()


def test_a_file_that_is_there_already_keeps_its_name(tmp_path: Path) -> None:
    (tmp_path / "srt").mkdir()
    (tmp_path / "srt/a.srt").write_text("mine")
    commit(tmp_path, [done("a.wav", "one")])
    for _ in range(2):
        assemble(tmp_path, EVERY)
        assert set(tree(tmp_path / "txt")) == {"a-2.txt"}
        assert set(tree(tmp_path / "srt")) == {"a.srt", "a-2.srt"}
        assert (tmp_path / "srt/a.srt").read_text() == "mine"


def csv_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_csv_table_holds_the_same_as_the_lines(tmp_path: Path) -> None:
    commit(tmp_path, [done("a", 'say "hi",\nZoë', note="short"), bad("b", 1)])
    assemble(tmp_path, EVERY)
    good, failed = csv_rows(tmp_path)
    line, _ = lines(tmp_path / "results.jsonl")
    assert good == {
        "item": "a",
        "text": 'say "hi",\nZoë',
        "segments": json.dumps(line["segments"], ensure_ascii=False),
        "size": "small",
        "note": "short",
        "reference": "r",
        "extra": '{"speaker": "Zoë"}',
        "error_stage": "",
        "error_message": "",
    }
    assert (failed["text"], failed["error_stage"], failed["error_message"]) == (
        "",
        "read",
        "broken",
    )
    assert (tmp_path / "results.csv").read_bytes().startswith(b"item,text,segments,")


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
        ("+1 is more", "'+1 is more"),
        ("- Yes. - No.", "'- Yes. - No."),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("'=1", "''=1"),
        ("''=1", "'''=1"),
        ("-12.5", "-12.5"),
        ("+39", "+39"),
        ("'tis 1 = 1", "'tis 1 = 1"),
        ("a = b", "a = b"),
    ],
)
def test_no_text_is_a_formula_to_a_spreadsheet_and_none_is_lost(
    tmp_path: Path, text: str, cell: str
) -> None:
    commit(tmp_path, [done(text, text)])
    assemble(tmp_path, EVERY)
    (row,) = csv_rows(tmp_path)
    assert (row["item"], row["text"]) == (cell, cell)
    assert re.sub("^'(?='*[=+@\uff1d-])", "", cell) == text
    assert texts(tmp_path) == {text: text}
    (table,) = pq.ParquetFile(tmp_path / "results.parquet").read().to_pylist()
    assert table["text"] == text


def test_a_table_of_more_items_than_are_held_at_once_has_them_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sinks._AT_ONCE", 2)
    commit(tmp_path, [done(str(n), "x", n) for n in range(5)])
    assemble(tmp_path, [Format.parquet])
    assert pq.ParquetFile(tmp_path / "results.parquet").read()["item"].to_pylist() == list("01234")
