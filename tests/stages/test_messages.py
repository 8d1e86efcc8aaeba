import json
from pathlib import Path
from typing import Any

import pytest

from stages.manifest import manifest_rows
from stages.media import Media
from stages.row import Row

TEXT = {"type": "text", "text": "Who is it?"}


def row_of(
    folder: Path, said: dict[str, Any], media: tuple[Media, ...] = (Media.audio, Media.image)
) -> Row:
    path = folder / "m.jsonl"
    path.write_text(json.dumps(said))
    (row,) = manifest_rows(path, media)
    return row


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def test_media_of_a_chat_are_the_rows_in_order(tmp_path: Path) -> None:
    chat = [
        {"role": "system", "content": "Be short."},
        user({"type": "audio", "audio": "a.wav"}, {"type": "image", "url": "p.png"}, TEXT),
        {"role": "assistant", "content": [{"type": "text", "text": "Anna."}]},
        user({"type": "image_url", "image_url": {"url": "https://x.org/q.png"}}, TEXT),
    ]
    row = row_of(tmp_path, {"messages": chat})
    assert row["error"] is None
    assert row["audio_paths"] == [str(tmp_path / "a.wav")]
    assert row["image_paths"] == [str(tmp_path / "p.png"), "https://x.org/q.png"]
    assert json.loads(row["turns"] or "") == [
        {"role": "system", "content": [{"type": "text", "text": "Be short."}]},
        user({"type": "audio"}, {"type": "image"}, TEXT),
        {"role": "assistant", "content": [{"type": "text", "text": "Anna."}]},
        user({"type": "image"}, TEXT),
    ]


def test_parts_without_a_path_stand_for_the_rows_files(tmp_path: Path) -> None:
    chat = [user({"type": "image"}, {"type": "image", "image": None}, TEXT)]
    row = row_of(tmp_path, {"turns": json.dumps(chat), "images": ["p.png", "q.png"]})
    assert len(row["image_paths"]) == 2
    assert json.loads(row["turns"] or "")[0]["content"][:2] == [{"type": "image"}] * 2


@pytest.mark.parametrize(
    ("media", "expected"), [((Media.audio,), "audio"), ((Media.audio, Media.image), "image")]
)
def test_a_video_is_heard_or_seen_as_the_job_does(
    tmp_path: Path, media: tuple[Media, ...], expected: str
) -> None:
    row = row_of(tmp_path, {"messages": [user({"type": "video", "video": "v.mp4"})]}, media)
    assert len(row["audio_paths"]) == (expected == "audio")
    assert len(row["image_paths"]) == (expected == "image")
    assert json.loads(row["turns"] or "") == [user({"type": expected})]


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"messages": "[oops"}, "has a chat that is not JSON"),
        ({"messages": ["Hello"]}, "has a chat that is no list of messages. Write it as in [{"),
        (
            {"messages": [user({"type": "image", "image": "p.png"})], "image": "q.png"},
            "names some files in its chat and others beside it",
        ),
        (
            {"messages": [user({"type": "image", "image": "p.png"}, {"type": "audio"})]},
            "names some files in its chat and others beside it",
        ),
        ({"messages": [user({"type": "image", "image": 3})]}, "has chat=[3]; accepted are a path"),
        ({"messages": [user({"type": "image", "url": "data:image/png;base64,AA"})]}, "holds a med"),
    ],
)
def test_a_chat_that_cannot_be_used_says_why(
    tmp_path: Path, said: dict[str, Any], expected: str
) -> None:
    error = row_of(tmp_path, said)["error"]
    assert error
    assert expected in error["message"]


def test_what_is_no_part_that_we_know_is_left_to_who_asks(tmp_path: Path) -> None:
    strange = [user({"type": "smell"}, 7), {"role": "user", "content": None}, {"content": "x"}]
    row = row_of(tmp_path, {"messages": strange})
    assert json.loads(row["turns"] or "") == [
        user({"type": "smell"}, 7),
        {"role": "user", "content": None},
        {"role": None, "content": [{"type": "text", "text": "x"}]},
    ]
