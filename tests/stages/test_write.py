from pathlib import Path

import pyarrow.parquet as pq
import pytest

from stages.model import Load
from stages.row import Row, light_row
from stages.write import PARTS, SinkSettings, Write, part_schema, replacing


def good(item: str, text: str = "hello") -> Row:
    row = light_row(item, audio_paths=["a.wav"], reference="hallo", extra='{"x": 1}')
    return {
        **row,
        "place": 4,
        "start_s": 0.0,
        "end_s": 1.5,
        "audio_s": 1.5,
        "text": text,
        "new_tokens": 2,
        "logprob": -0.5,
        "size": "small",
        "note": None,
    }


def failed(item: str, message: str = "broken") -> Row:
    row = light_row(item, error=message)
    row["place"] = 5
    return row


def writer(folder: Path) -> Write:
    return Write(SinkSettings(), Load(folder="nowhere"), folder)


def parts(folder: Path) -> list[Path]:
    return sorted((folder / PARTS).iterdir())


def test_a_batch_is_one_part_with_good_and_failed_rows(tmp_path: Path) -> None:
    rows = [good("a"), failed("b")]
    assert writer(tmp_path)(rows) == rows
    (part,) = parts(tmp_path)
    table = pq.ParquetFile(part).read()
    assert table.schema.equals(part_schema())
    first, second = table.to_pylist()
    assert first == {
        "item": "a",
        "segment": 0,
        "last": True,
        "place": 4,
        "stamp": None,
        "start_s": 0.0,
        "end_s": 1.5,
        "audio_s": 1.5,
        "image_count": 0,
        "text": "hello",
        "new_tokens": 2,
        "logprob": -0.5,
        "size": "small",
        "note": None,
        "reference": "hallo",
        "extra": '{"x": 1}',
        "error_stage": None,
        "error_message": None,
    }
    assert (second["text"], second["error_stage"], second["error_message"]) == (
        None,
        "read",
        "broken",
    )


def test_parts_of_one_writer_are_named_in_the_order_they_were_written(tmp_path: Path) -> None:
    write = writer(tmp_path)
    for item in "abcd":
        write([good(item)])
    items = [pq.ParquetFile(part).read()["item"][0].as_py() for part in parts(tmp_path)]
    assert items == ["a", "b", "c", "d"]


def test_two_writers_share_a_folder(tmp_path: Path) -> None:
    writer(tmp_path)([good("a")])
    writer(tmp_path)([good("b")])
    assert len(parts(tmp_path)) == 2


def test_no_rows_are_no_part(tmp_path: Path) -> None:
    writer(tmp_path)([])
    assert parts(tmp_path) == []


def test_a_message_that_quotes_a_name_which_is_no_text_is_written(tmp_path: Path) -> None:
    writer(tmp_path)([failed("a", "cannot open caf\udce9.wav")])
    (part,) = parts(tmp_path)
    (row,) = pq.ParquetFile(part).read().to_pylist()
    assert row["error_message"] == "cannot open caf\\udce9.wav"


def test_a_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    with replacing(tmp_path / "a") as file:
        file.write(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")

    def interrupted() -> None:
        with replacing(tmp_path / "a") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"
