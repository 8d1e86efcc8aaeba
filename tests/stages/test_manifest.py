import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.manifest import manifest_rows
from stages.media import Media
from stages.row import Row

BOTH = (Media.audio, Media.image)


def rows_of(tmp_path: Path, *lines: Any, media: tuple[Media, ...] = BOTH) -> list[Row]:
    file = tmp_path / "m.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    file.write_text("\n".join(texts), encoding="utf-8", errors="surrogatepass")
    return list(manifest_rows(file, media))


def row_of(tmp_path: Path, line: Any, media: tuple[Media, ...] = BOTH) -> Row:
    (row,) = rows_of(tmp_path, line, media=media)
    return row


def message(row: Row) -> str:
    assert row["error"] is not None
    assert row["error"]["stage"] == "read"
    return row["error"]["message"]


def test_a_line_gives_a_row_with_paths_from_the_manifests_folder(tmp_path: Path) -> None:
    row = row_of(
        tmp_path,
        {
            "id": 7,
            "audio": ["a.wav", "/abs/b.wav"],
            "images": "p.png",
            "prompt": "Who speaks?",
            "text": "Anna",
            "speaker": "A",
            "nested": {"x": [1]},
        },
    )
    assert row["item"] == "7"
    assert row["audio_paths"] == [str(tmp_path / "a.wav"), "/abs/b.wav"]
    assert row["image_paths"] == [str(tmp_path / "p.png")]
    assert row["prompt"] == "Who speaks?"
    assert row["reference"] == "Anna"
    assert json.loads(row["extra"] or "") == {
        "audio": ["a.wav", "/abs/b.wav"],
        "images": "p.png",
        "prompt": "Who speaks?",
        "speaker": "A",
        "nested": {"x": [1]},
    }
    assert row["error"] is None


@pytest.mark.parametrize(
    ("line", "item"),
    [
        ({"id": "x", "audio": "a.wav"}, "x"),
        ({"id": "", "audio_filepath": "b/a.wav"}, "b/a.wav"),
        ({"image": ["p.png", "q.png"]}, "p.png"),
        ({"prompt": "Hello"}, "1"),
    ],
)
def test_an_item_is_the_id_or_the_first_path_or_the_line_number(
    tmp_path: Path, line: dict[str, Any], item: str
) -> None:
    assert row_of(tmp_path, line)["item"] == item


@pytest.mark.parametrize(
    ("line", "reference", "extra"),
    [
        ({"reference": "r", "text": "t"}, "r", {"text": "t"}),
        ({"text": "t", "caption": "c"}, "t", {"caption": "c"}),
        ({"caption": "c"}, "c", {}),
        ({"reference": None, "text": 3}, "3", {"reference": None}),
        ({}, None, {}),
    ],
)
def test_the_reference_is_the_first_key_that_holds_one(
    tmp_path: Path, line: dict[str, Any], reference: str | None, extra: dict[str, Any]
) -> None:
    row = row_of(tmp_path, {"audio": "a.wav", **line})
    assert row["reference"] == reference
    assert json.loads(row["extra"] or "null") == {"audio": "a.wav", **extra}


def test_of_several_references_the_first_is_the_rows_and_all_are_kept(tmp_path: Path) -> None:
    for key in ("references", "text"):
        row = row_of(tmp_path, {"audio": "a.wav", key: ["one", "two"]})
        assert row["reference"] == "one"
        assert json.loads(row["extra"] or "")["references"] == ["one", "two"]
    row = row_of(tmp_path, {"audio": "a.wav", "text": "one", "references": ["two"]})
    assert row["reference"] == "one"
    assert json.loads(row["extra"] or "")["references"] == ["two"]
    assert row_of(tmp_path, {"audio": "a.wav", "references": []})["reference"] is None
    said = message(row_of(tmp_path, {"audio": "a.wav", "references": ["one", 2]}))
    assert "accepted are a text and a list of texts" in said


def test_the_kind_of_a_file_key_is_told_by_its_extension(tmp_path: Path) -> None:
    assert row_of(tmp_path, {"file": "a.WAV"})["audio_paths"] == [str(tmp_path / "a.WAV")]
    assert row_of(tmp_path, {"file": "p.jpg"})["image_paths"] == [str(tmp_path / "p.jpg")]
    assert "names 'x.doc', but this job takes audio (" in message(
        row_of(tmp_path, {"file": "x.doc"})
    )


def test_a_path_may_name_the_manifests_folder_first(tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    folder.mkdir()
    (folder / "a.wav").touch()
    assert row_of(folder, {"audio": "audio/a.wav"})["audio_paths"] == [str(folder / "a.wav")]
    (folder / "audio").mkdir()
    (folder / "audio/a.wav").touch()
    nearer = row_of(folder, {"audio": "audio/a.wav"})["audio_paths"]
    assert nearer == [str(folder / "audio/a.wav")]


def test_empty_lines_are_no_rows_but_count_as_lines(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {"prompt": "a"}, "", "  ", {"prompt": "b"})
    assert [row["item"] for row in rows] == ["1", "4"]


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    assert row_of(tmp_path, '\ufeff{"prompt": "a"}')["error"] is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("{oops", "m.jsonl' is not JSON in UTF-8: "),
        ('{"prompt": "\\ud800"}', "is not JSON in UTF-8: "),
        ("[" * 100_000, "is not JSON in UTF-8: "),
        ("[1]", "is a JSON list. A line is one object"),
        ({"audio": 3}, "has audio=3; accepted are a path and a list of paths"),
        ({"audio": ["a.wav", ""]}, "accepted are a path and a list of paths"),
        ({"audio": "a\0.wav"}, "accepted are a path and a list of paths"),
        ({"audio": "a.wav", "prompt": ["x"]}, "has prompt=['x']; accepted is a text"),
        ({"audio": "a.wav", "id": {}}, "has id={}; accepted is a text"),
        ({"id": "q", "speaker": "A"}, "has nothing to work on. Give it a prompt, or one of audio"),
        ({"prompt": "x", "wav": "a.wav"}, "has wav='a.wav', which is not read; files are"),
        (
            {"prompt": "x", "Audio_Path": "a.wav"},
            "audio, audio_filepath, image, images, video, file. Re",
        ),
        ({"audio": "a.wav", "offset": "x"}, "has offset='x'; accepted are seconds from 0"),
        ({"audio": "a.wav", "offset": -1}, "has offset=-1; accepted are seconds from 0"),
        ({"image": "p.png", "offset": 1}, "offset=1 but names 0 clips and 1 pictures"),
        ({"audio": "a.wav", "messages": "[oops"}, "has a chat that is not JSON"),
        ({"audio": "a.wav", "messages": {}}, "has a chat that is no list of messages"),
    ],
)
def test_a_line_that_cannot_be_used_says_why(tmp_path: Path, line: Any, expected: str) -> None:
    assert f"line 1 of '{tmp_path / 'm.jsonl'}' " in message(row_of(tmp_path, line))
    assert expected in message(row_of(tmp_path, line))


def test_a_bad_line_is_known_by_its_id_if_that_can_be_read(tmp_path: Path) -> None:
    assert row_of(tmp_path, {"id": "q7", "audio": 3})["item"] == "q7"
    assert row_of(tmp_path, {"id": {}, "audio": "a.wav"})["item"] == "1"
    assert row_of(tmp_path, {"audio": "a.wav", "offset": -2})["item"] == "a.wav"


def test_a_bad_line_keeps_what_could_be_read(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"audio": "a.wav", "offset": -2, "text": "hello", "speaker": "A"})
    assert "seconds from 0" in message(row)
    assert row["reference"] == "hello"
    assert json.loads(row["extra"] or "") == {"audio": "a.wav", "offset": -2, "speaker": "A"}


def test_what_is_said_about_media_is_no_medium(tmp_path: Path) -> None:
    line = {"audio": "a.wav", "audio_id": "x", "images_file": 2, "image_url": "p", "video": None}
    assert row_of(tmp_path, line)["error"] is None


def test_the_duration_of_a_clip_is_kept_for_the_reader(tmp_path: Path) -> None:
    assert row_of(tmp_path, {"audio_filepath": "a.wav", "duration": 2})["stated_s"] == 2.0
    for line in ({"audio": ["a.wav", "b.wav"], "duration": 2}, {"file": "p.png", "duration": 2}):
        assert row_of(tmp_path, line)["stated_s"] is None
    for strange in ("long", True, None):
        assert row_of(tmp_path, {"audio": "a.wav", "duration": strange})["stated_s"] is None
    assert row_of(tmp_path, {"audio": "a.wav", "duration": 10**400})["stated_s"] == 1e9


def test_bytes_that_are_no_text_are_one_bad_line(tmp_path: Path) -> None:
    file = tmp_path / "m.jsonl"
    file.write_bytes(b'{"prompt": "\xff"}\n{"prompt": "b"}\n')
    rows = list(manifest_rows(file, BOTH))
    assert "is not JSON in UTF-8" in message(rows[0])
    assert rows[1]["prompt"] == "b"


def test_media_that_the_job_does_not_take_are_an_error(tmp_path: Path) -> None:
    row = row_of(tmp_path, {"image": "p.png"}, media=(Media.audio,))
    assert "names 'p.png', but this job takes audio (.wav" in message(row)
    assert "generate" in message(row)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
NAMES = ["id", "audio", "images", "file", "prompt", "text", "offset", "duration", "video", "x"]
NAMES += ["messages", "file_name", "path", "language", "task", "taskname"]
KEYS = st.sampled_from(NAMES)


@given(st.lists(st.dictionaries(KEYS, JSON, max_size=4), max_size=3))
def test_whatever_a_line_holds_it_is_a_row(lines: list[dict[str, Any]]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        rows = rows_of(Path(folder), *lines)
    assert len(rows) == len(lines)
    for row in rows:
        assert (
            row["error"]
            or row["audio_paths"]
            or row["image_paths"]
            or row["prompt"] is not None
            or row["turns"]
        )
        str(row).encode()
