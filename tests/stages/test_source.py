import json
import os
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.errors import InputError, SettingsError
from stages import stdin_list
from stages.manifest import is_manifest
from stages.media import Media
from stages.opened import opened
from stages.row import Row
from stages.source import SourceSettings, list_items

SAMPLES = Path(__file__).parents[1] / "samples"


def settings(*paths: Path | str, media: str = "audio", recursive: bool = True) -> SourceSettings:
    kinds = [Media[kind] for kind in media.split()]
    return SourceSettings(path=[str(path) for path in paths], media=kinds, recursive=recursive)


def listed(*paths: Path | str, media: str = "audio", recursive: bool = True) -> list[str]:
    return [row["item"] for row in list_items(settings(*paths, media=media, recursive=recursive))]


def errors(rows: list[Row]) -> dict[str, str]:
    return {row["item"]: error["message"] for row in rows if (error := row["error"])}


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    for name in ("b.wav", "a.FLAC", "day/c.mp3", "day/later/d.ogg", "notes.txt", "day/p.png", "x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".hidden.wav").touch()
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/e.wav").touch()
    return tmp_path


def test_a_folder_is_listed_in_order_folder_by_folder_without_hidden_files(talks: Path) -> None:
    assert listed(talks) == ["a.FLAC", "b.wav", "day/c.mp3", "day/later/d.ogg"]


def test_other_kinds_in_a_folder_are_skipped_and_counted(talks: Path) -> None:
    skipped: Counter[str] = Counter()
    rows = list(list_items(settings(talks), skipped))
    assert len(rows) == 4
    assert skipped == {".txt": 1, ".png": 1, "": 1}


def test_a_job_for_both_media_lists_both(talks: Path) -> None:
    rows = list(list_items(settings(talks / "day", media="audio image")))
    assert [(len(r["audio_paths"]), len(r["image_paths"])) for r in rows] == [
        (1, 0),
        (1, 0),
        (0, 1),
    ]


def test_a_folder_is_not_entered_when_not_recursive(talks: Path) -> None:
    assert listed(talks, recursive=False) == ["a.FLAC", "b.wav"]


def test_items_are_named_from_the_common_folder_of_all_paths(talks: Path) -> None:
    assert listed(talks / "day", talks / "b.wav") == ["day/c.mp3", "day/later/d.ogg", "b.wav"]


def test_one_file_is_named_by_its_name(talks: Path) -> None:
    assert listed(talks / "day/c.mp3") == ["c.mp3"]


def test_a_file_that_is_given_twice_is_listed_once(talks: Path) -> None:
    assert listed(talks / "day", talks / "day/c.mp3") == ["c.mp3", "later/d.ogg"]


def test_places_count_from_zero(talks: Path) -> None:
    assert [row["place"] for row in list_items(settings(talks))] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.wav", ["b.wav"]),
        ("*", ["a.FLAC", "b.wav", "day/c.mp3", "day/later/d.ogg"]),
        ("da?", ["day/c.mp3", "day/later/d.ogg"]),
        ("*/*.mp3", ["day/c.mp3"]),
        ("**/*.[mo]*", ["day/c.mp3", "day/later/d.ogg"]),
        ("**", ["a.FLAC", "b.wav", "day/c.mp3", "day/later/d.ogg"]),
        ("**/**/*.ogg", ["day/later/d.ogg"]),
        (".*.wav", [".hidden.wav"]),
    ],
)
def test_a_glob_lists_what_fits(talks: Path, pattern: str, expected: list[str]) -> None:
    assert listed(talks / pattern) == expected


def test_a_glob_skips_and_counts_other_kinds(talks: Path) -> None:
    skipped: Counter[str] = Counter()
    list(list_items(settings(talks / "*.*"), skipped))
    assert skipped == {".txt": 1}


def test_a_name_with_brackets_that_exists_is_a_name(tmp_path: Path) -> None:
    (tmp_path / "talks [2024]").mkdir()
    (tmp_path / "talks [2024]/a[1].wav").touch()
    assert listed(tmp_path / "talks [2024]/a[1].wav") == ["a[1].wav"]
    assert listed(tmp_path / "talks [2024]/*.wav") == ["a[1].wav"]


@given(
    st.lists(st.sampled_from(["a.wav", "b/a.wav", "b/c/d.wav", "e/f.wav", "z.wav"]), unique=True)
)
def test_a_recursive_glob_finds_what_pathlib_finds(names: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "keep.wav").touch()
        for file in names:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).touch()
        for pattern in ("**/*.wav", "*/*.wav", "b/**/*.wav", "**/c/*.wav", "**/a.wav", "*.wav"):
            expected = {str(p) for p in folder.glob(pattern)}
            if expected:
                rows = list(list_items(settings(folder / pattern)))
                assert {row["audio_paths"][0] for row in rows} == expected


def test_a_link_that_leads_back_up_ends(talks: Path) -> None:
    (talks / "day/again").symlink_to(talks, target_is_directory=True)
    assert listed(talks / "day") == [
        "again/a.FLAC",
        "again/b.wav",
        "c.mp3",
        "later/d.ogg",
    ]


def test_a_file_of_another_kind_that_is_named_itself_is_an_error_row(talks: Path) -> None:
    rows = list(list_items(settings(talks / "notes.txt", talks / "b.wav")))
    assert [row["item"] for row in rows] == ["notes.txt", "b.wav"]
    assert "notes.txt' is of a kind that this job does not take" in errors(rows)["notes.txt"]
    assert "accepted are audio (.wav" in errors(rows)["notes.txt"]
    assert "Convert it" in errors(rows)["notes.txt"]


def test_a_folder_that_may_not_be_listed_is_an_error_row(
    talks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda p, mode: p != talks / "day" and allowed(p, mode))
    rows = list(list_items(settings(talks)))
    assert [row["item"] for row in rows] == ["a.FLAC", "b.wav", "day"]
    assert "may not be listed" in errors(rows)["day"]


def test_a_path_that_does_not_exist_is_refused_before_anything_is_listed(talks: Path) -> None:
    with pytest.raises(SettingsError, match=r"source 'no/such' does not exist. Give a folder"):
        list_items(settings(talks, "no/such"))


def test_a_source_without_anything_to_do_is_refused_and_says_what_was_there(talks: Path) -> None:
    (talks / "empty").mkdir()
    with pytest.raises(SettingsError, match=r"looked for audio \(\.wav .*found no files"):
        list(list_items(settings(talks / "empty")))
    with pytest.raises(SettingsError, match=r"found other files only \(1 \.mp3, 1 \.ogg\)"):
        list(list_items(settings(talks / "day/**/*.[mo]*", media="image")))


def test_a_name_that_is_no_text_gives_an_item_that_is(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav")).touch()
    assert listed(tmp_path) == ["caf\\xe9.wav"]


def test_a_folder_of_many_files_is_listed_in_the_same_order(
    talks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (talks / "é.wav").touch()
    expected = listed(talks)
    monkeypatch.setattr("stages.folders._IN_MEMORY", 2)
    assert listed(talks) == expected


def test_listing_never_holds_more_than_one_folder(talks: Path) -> None:
    items = list_items(settings(talks))
    assert next(items)["item"] == "a.FLAC"
    (talks / "day/later/new.wav").touch()
    assert [row["item"] for row in items][-1] == "day/later/new.wav"


def test_a_folder_with_the_name_of_a_file_is_an_error_row_unless_there_are_files_in_it(
    talks: Path,
) -> None:
    (talks / "x.wav").mkdir()
    (talks / "y.wav").mkdir()
    (talks / "y.wav/z.wav").touch()
    rows = list(list_items(settings(talks)))
    assert [row["item"] for row in rows][-2:] == ["x.wav", "y.wav/z.wav"]
    assert "x.wav' is a folder, where a file is expected" in errors(rows)["x.wav"]


def test_videos_are_listed_once_by_what_the_job_does_with_them(talks: Path) -> None:
    (talks / "v.MP4").touch()
    for media, column in {"audio": "audio_paths", "image audio": "image_paths"}.items():
        (row,) = list_items(settings(talks / "v.MP4", media=media))
        assert row[column] == [str(talks / "v.MP4")]  # type: ignore[literal-required]
        assert len(row["audio_paths"]) + len(row["image_paths"]) == 1
    assert "video (.mp4" in errors(list(list_items(settings(talks / "x"))))["x"]


def test_video_is_no_kind_of_its_own_for_a_job() -> None:
    with pytest.raises(SettingsError, match="video, which is taken by every job"):
        settings("talks", media="audio video")


def listed_from(
    stdin: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, media: str = "audio"
) -> list[Row]:
    (tmp_path / "stdin").write_bytes(stdin)
    monkeypatch.setattr("sys.stdin", (tmp_path / "stdin").open())
    stdin_list._spooled.cache_clear()
    try:
        first = list(list_items(settings("-", media=media)))
        assert list(list_items(settings("-", media=media))) == first
        return first
    finally:
        stdin_list._spooled.cache_clear()
        sys.stdin.close()


def test_a_list_on_stdin_can_be_listed_again(
    talks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(talks)
    names = b"./b.wav\n\nday/c.mp3\r\nx\nday\ncaf\xe9.wav\nmemory://a.wav"
    rows = listed_from(names, tmp_path, monkeypatch)
    assert [row["item"] for row in rows] == [
        "b.wav", "day/c.mp3", "x", "day", "caf\\xe9.wav", "memory://a.wav",
    ]  # fmt: skip
    assert [row["audio_paths"][0] for row in rows[:2]] == [
        str(talks / name) for name in ("b.wav", "day/c.mp3")
    ]
    assert set(errors(rows)) == {"x", "day"}
    assert "day' is a folder, where a file is expected" in errors(rows)["day"]


def test_nothing_on_stdin_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"nothing to do in \['-'\]"):
        listed_from(b"\n", tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["metadata.jsonl", "metadata.csv"])
def test_a_folder_of_hugging_face_is_what_its_metadata_lists(talks: Path, name: str) -> None:
    lines = {
        "metadata.jsonl": '{"file_name": "day/c.mp3", "transcription": "hello"}\n',
        "metadata.csv": "file_name,transcription\nday/c.mp3,hello\n",
    }
    (talks / name).write_text(lines[name])
    assert is_manifest(talks)
    (row,) = list_items(settings(talks))
    assert row["item"] == "day/c.mp3"
    assert row["audio_paths"] == [str(talks / "day/c.mp3")]
    assert row["reference"] == "hello"


def test_metadata_that_names_no_files_do_not_make_a_folder_a_manifest(talks: Path) -> None:
    (talks / "metadata.csv").write_text("a|hello\nb|there\n")
    assert not is_manifest(talks)
    assert "b.wav" in listed(talks)


def test_a_glob_of_manifests_is_all_of_them(talks: Path) -> None:
    for part in (1, 2):
        (talks / f"{part}.jsonl").write_text(json.dumps({"id": f"id{part}", "audio": "b.wav"}))
    assert is_manifest(talks / "*.jsonl")
    assert listed(talks / "*.jsonl") == ["id1", "id2"]


def stamps(*paths: Path | str) -> dict[str, str | None]:
    return {row["item"]: row["stamp"] for row in list_items(settings(*paths))}


def test_a_file_that_changed_has_another_stamp_and_the_others_have_not(talks: Path) -> None:
    (talks / "m.jsonl").write_text('{"id": "x", "audio": "a.FLAC"}\n{"id": "y", "audio": "no.wav"}')
    before = stamps(talks, talks / "m.jsonl")
    assert before == stamps(talks, talks / "m.jsonl")
    (talks / "a.FLAC").write_bytes(b"longer")
    (talks / "no.wav").touch()
    after = stamps(talks, talks / "m.jsonl")
    changed = {item for item in before if before[item] != after[item]}
    assert changed == {"a.FLAC", "x", "y"}


def test_what_a_manifest_says_is_part_of_the_stamp_and_where_it_lies_is_not(talks: Path) -> None:
    row = {"id": "x", "audio": "b.wav", "prompt": "Who?", "offset": 1.0, "text": "a"}
    found = set()
    for change in ({}, {"prompt": "Where?"}, {"offset": 2.0}, {"text": "b"}, {"language": "fr"}):
        (talks / "m.jsonl").write_text(json.dumps({**row, **change}))
        found.add(stamps(talks / "m.jsonl")["x"])
    assert len(found) == 5
    assert stamps(talks).items() >= stamps(talks.rename(talks.with_name("moved"))).items()


def test_a_file_that_is_not_there_is_listed_where_it_is_named(talks: Path) -> None:
    (talks / "link.wav").symlink_to("gone.wav")
    (talks / "m.jsonl").write_text('{"audio": "gone.wav"}')
    rows = list(list_items(settings(talks / "*.wav", talks / "m.jsonl")))
    assert [row["item"] for row in rows] == ["b.wav", "link.wav", "gone.wav"]
    assert not errors(rows)
    for row in rows[1:]:
        with (
            pytest.raises(InputError, match=r"gone\.wav.* Correct the path"),
            opened(row["audio_paths"][0]),
        ):
            pass


def test_rows_of_one_name_get_names_of_their_own(tmp_path: Path) -> None:
    lines = [{"image": "a.png", "prompt": p} for p in ("Who?", "Where?")] + [{"id": "a.png#2"}]
    lines[2]["prompt"] = "Why?"
    manifest = tmp_path / "m.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    assert listed(manifest, media="image") == ["a.png", "a.png#2", "a.png#2#2"]


def test_folders_and_manifests_may_be_mixed(talks: Path) -> None:
    (talks / "m.jsonl").write_text('{"audio": "day/c.mp3", "id": "seven"}')
    assert listed(talks / "m.jsonl", talks / "day") == ["seven", "c.mp3", "later/d.ogg"]


@pytest.mark.parametrize(("kind", "count"), [("audio", 12), ("images", 12)])
def test_the_manifests_of_our_samples_are_sources(kind: str, count: int) -> None:
    rows = list(list_items(settings(SAMPLES / kind / "manifest.jsonl", media="audio image")))
    assert len(rows) == count
    assert not errors(rows)
    for row in rows:
        assert row["reference"]
        assert all(Path(path).is_file() for path in row["audio_paths"] + row["image_paths"])


def test_a_job_takes_sound_or_pictures_and_films_with_either() -> None:
    with pytest.raises(SettingsError, match=r"source.media names video, .*Name those"):
        SourceSettings(path=["."], media=[Media.video])


def test_a_limit_takes_the_first_items(talks: Path) -> None:
    some = settings(talks)
    some.limit = 2
    assert [row["item"] for row in list_items(some)] == listed(talks)[:2]
    some.limit = 99
    assert [row["item"] for row in list_items(some)] == listed(talks)
    with pytest.raises(SettingsError, match=r"source.limit=0; at least 1"):
        SourceSettings(path=["x"], limit=0)
