import json
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.errors import SettingsError
from stages.media import Media
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


def test_listing_never_holds_more_than_one_folder(talks: Path) -> None:
    items = list_items(settings(talks))
    assert next(items)["item"] == "a.FLAC"
    (talks / "day/later/new.wav").touch()
    assert [row["item"] for row in items][-1] == "day/later/new.wav"


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
