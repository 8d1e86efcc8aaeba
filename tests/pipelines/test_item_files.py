from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.item_files import FOLDERS, ItemFiles, clear_files
from stages.write import PARTS, Format

KINDS = (Format.txt, Format.vtt)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[ItemFiles]:
    items = ["day/a.wav", "../../b", "c"]
    with closing(ItemFiles(tmp_path, items)) as files:
        files.announce((item, kind) for item in items for kind in KINDS)
        yield files


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_files_mirror_the_source_in_a_folder_for_each_format(
    files: ItemFiles, tmp_path: Path
) -> None:
    for kind in KINDS:
        files.write("day/a.wav", kind, "Zoë\n")
        files.write("../../b", kind, "")
    assert tree(tmp_path) == {
        "results/files.txt",
        "txt/day/a.txt",
        "txt/__/__/b.txt",
        "vtt/day/a.vtt",
        "vtt/__/__/b.vtt",
    }
    assert (tmp_path / "txt/day/a.txt").read_bytes() == "Zoë\n".encode()


def test_they_are_taken_away_and_those_of_others_stay(files: ItemFiles, tmp_path: Path) -> None:
    files.write("day/a.wav", Format.txt, "x")
    files.write("day/a.wav", Format.vtt, "x")
    (tmp_path / "txt/day/notes.txt").write_text("mine")
    clear_files(tmp_path)  # some of those that were announced never came
    assert tree(tmp_path) == {"txt/day/notes.txt"}
    assert not (tmp_path / "vtt").exists()
    clear_files(tmp_path)


def test_a_folder_that_somebody_put_in_a_files_place_is_left_alone(
    files: ItemFiles, tmp_path: Path
) -> None:
    (tmp_path / "txt/c.txt").mkdir(parents=True)
    (tmp_path / "txt/c.txt/mine").write_text("mine")
    (tmp_path / "vtt").write_text("mine")
    clear_files(tmp_path)
    assert tree(tmp_path) == {"txt/c.txt/mine", "vtt"}


@pytest.mark.parametrize("name", ["../mine", "txt/../mine", "mine", "/etc/x", "", "txt", "txt/"])
def test_a_list_that_came_with_a_folder_takes_away_nothing_else(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "run"
    (folder / PARTS).mkdir(parents=True)
    (folder / "txt").mkdir()
    for mine in (tmp_path / "mine", folder / "mine", folder / "txt/mine"):
        mine.write_text("mine")
    (folder / PARTS / "files.txt").write_text(f"{name.replace('/etc', str(tmp_path))}\n")
    clear_files(folder)
    assert tree(tmp_path) == {"mine", "run/mine", "run/txt/mine"}


def test_each_format_that_is_a_file_an_item_has_a_folder() -> None:
    assert FOLDERS == ("txt", "srt", "vtt")
