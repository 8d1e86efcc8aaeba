import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from gemma3n.errors import InputError, SettingsError
from stages.media import Media, kind_of
from stages.opened import opened
from stages.remote import RemoteFile, is_url, sibling
from stages.row import Row
from stages.source import SourceSettings, absolute_source, list_items

TALKS = {
    "b.wav": b"b",
    "a.wav": b"a",
    "day/c.mp3": b"c",
    "day/later/d.ogg": b"d",
    "notes.txt": b"",
    ".hidden.wav": b"",
    "m.jsonl": b'{"audio": "day/c.mp3", "offset": 1}\n{"audio": "memory://talks/b.wav"}\n',
}


@pytest.fixture
def memory() -> Iterator[str]:
    system = fsspec.filesystem("memory")
    for name, content in TALKS.items():
        system.pipe(f"/talks/{name}", content)
    yield "memory://talks"
    system.rm("/talks", recursive=True)


@pytest.fixture
def archive(tmp_path: Path) -> str:
    with zipfile.ZipFile(tmp_path / "talks.zip", "w") as file:
        for name, content in TALKS.items():
            file.writestr(name, content)
    return str(tmp_path / "talks.zip")


def rows(*paths: str, recursive: bool = True, skipped: Counter[str] | None = None) -> list[Row]:
    media = [Media.audio]
    return list(list_items(SourceSettings(list(paths), media, recursive=recursive), skipped))


def content(row: Row) -> bytes:
    with opened(row["audio_paths"][0]) as file:
        return file.read()


@pytest.mark.parametrize(
    ("path", "items"),
    [
        ("", ["a.wav", "b.wav", "day/c.mp3", "day/later/d.ogg"]),
        ("/", ["a.wav", "b.wav", "day/c.mp3", "day/later/d.ogg"]),
        ("/day", ["c.mp3", "later/d.ogg"]),
        ("/*.wav", ["a.wav", "b.wav"]),
        ("/**/*.mp3", ["day/c.mp3"]),
        ("/da?", ["day/c.mp3", "day/later/d.ogg"]),
        ("/a.wav", ["a.wav"]),
    ],
)
def test_a_url_is_a_folder_a_glob_or_a_file(memory: str, path: str, items: list[str]) -> None:
    found = rows(memory + path)
    assert [row["item"] for row in found] == items
    assert [content(row).decode() for row in found] == [
        item.rpartition("/")[2][0] for item in items
    ]


def test_an_archive_is_a_folder_too(archive: str) -> None:
    for url in (f"zip://::{archive}", f"zip://*::file://{archive}"):
        found = rows(url)
        assert [row["item"] for row in found] == ["a.wav", "b.wav", "day/c.mp3", "day/later/d.ogg"]
        assert [content(row) for row in found] == [b"a", b"b", b"c", b"d"]


def test_a_folder_of_a_url_is_not_entered_when_not_recursive(memory: str) -> None:
    assert [row["item"] for row in rows(memory, recursive=False)] == ["a.wav", "b.wav"]


def test_a_url_of_another_kind_that_is_named_itself_is_an_error_row(memory: str) -> None:
    (row,) = rows(f"{memory}/notes.txt")
    assert row["error"]
    assert "if it is a folder on the web, end it with '/'" in row["error"]["message"]


def test_other_kinds_of_a_url_are_skipped_and_counted(memory: str) -> None:
    skipped: Counter[str] = Counter()
    rows(memory, skipped=skipped)
    assert skipped == {".txt": 1, ".jsonl": 1}


def test_a_manifest_at_a_url_names_files_beside_it(memory: str, archive: str) -> None:
    for manifest in (f"{memory}/m.jsonl", f"{memory}/*.jsonl", f"zip://m.jsonl::{archive}"):
        found = rows(manifest)
        assert [content(row) for row in found] == [b"c", b"b"]
        assert found[0]["offset_s"] == 1


def test_a_manifest_at_a_url_may_name_its_folder_first(memory: str) -> None:
    fsspec.filesystem("memory").pipe("/talks/m.jsonl", b'{"audio": "talks/a.wav"}\n' * 2)
    assert [content(row) for row in rows(f"{memory}/m.jsonl")] == [b"a", b"a"]
    fsspec.filesystem("memory").pipe("/talks/talks/a.wav", b"nearer")
    assert [content(row) for row in rows(f"{memory}/m.jsonl")] == [b"nearer"] * 2


def test_a_manifest_here_may_name_urls(memory: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"x")
    (tmp_path / "m.csv").write_text(f"audio\nmemory://talks/a.wav\nfile://{tmp_path}/x.wav\n")
    assert [content(row) for row in rows(str(tmp_path / "m.csv"))] == [b"a", b"x"]


def test_a_url_of_a_file_here_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "x.wav").touch()
    (row,) = rows(f"file://{tmp_path}")
    assert row["audio_paths"] == [str(tmp_path / "x.wav")]
    with pytest.raises(SettingsError, match="does not exist"):
        rows("file:///no/such")


def test_a_listing_that_breaks_off_is_a_row_that_says_so(
    memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(url: str, recursive: bool) -> Iterator[RemoteFile]:
        yield RemoteFile(f"{url}/a.wav", "a.wav", "1")
        raise OSError("the line went dead")

    monkeypatch.setattr("stages.source.remote_files", breaks)
    good, broken = rows(memory)
    assert (good["item"], good["error"]) == ("a.wav", None)
    assert broken["error"] is not None
    assert "cannot be listed to its end: the line went dead. Run it" in broken["error"]["message"]


def test_a_file_that_changed_at_its_url_has_another_stamp(memory: str) -> None:
    before = {row["item"]: row["stamp"] for row in rows(memory)}
    assert before == {row["item"]: row["stamp"] for row in rows(memory)}
    fsspec.filesystem("memory").pipe("/talks/a.wav", b"longer")
    after = {row["item"]: row["stamp"] for row in rows(memory)}
    assert {item for item in after if after[item] != before[item]} == {"a.wav"}


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("memory://no/such", "it does not exist"),
        ("memory://no/such.jsonl", "it does not exist"),
        ("odd://x/y", "'odd' is a protocol that fsspec does not know"),
        ("zip://a.wav::/no/such.zip", "/no/such.zip"),
        ("memory://no/*.wav", "nothing to do in"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        rows(url)


def test_a_driver_that_is_missing_is_named() -> None:
    fsspec.register_implementation(
        "nosuch", "no_such_driver.FileSystem", True, "Install nosuchfs to access nosuch"
    )
    with pytest.raises(SettingsError, match=r"Install nosuchfs .* gemma3n-pipelines\[remote\]"):
        rows("nosuch://bucket/a.wav")


def test_a_file_that_is_gone_at_its_url_is_an_error_of_its_row(memory: str) -> None:
    with (
        pytest.raises(InputError, match=r"'memory://talks/x.wav' cannot be opened: there is no"),
        opened(f"{memory}/x.wav"),
    ):
        pass


def test_what_is_a_url_and_what_a_name_on_this_machine() -> None:
    urls = ["s3://b/k", "https://x.org", "zip://a::s3://b/z.zip", "simplecache::s3://b/k"]
    assert all(map(is_url, urls))
    assert not any(map(is_url, ["a.wav", "C:\\x", "a::b.wav", "/s3://x", "./https://x", "-"]))
    assert [absolute_source(path) for path in [*urls, "-"]] == [*urls, "-"]


def test_the_kind_at_a_url_is_that_of_the_file_it_leads_to() -> None:
    assert kind_of("https://x.org/a.wav?key=p.png") is Media.audio
    assert kind_of("zip://day/p.png::s3://b/z.zip") is Media.image
    assert kind_of("what?.wav") is Media.audio


def test_a_name_beside_a_url() -> None:
    assert sibling("s3://b/x/m.jsonl", "y/a.wav") == "s3://b/x/y/a.wav"
    assert sibling("zip://m.csv::s3://b/z.zip", "a.wav") == "zip://a.wav::s3://b/z.zip"
    assert sibling("simplecache::s3://b/m.csv", "a.wav") == "simplecache::s3://b/a.wav"
