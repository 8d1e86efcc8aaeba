import subprocess
import sys
from pathlib import Path

import pytest

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.hub import Repository, repository
from gemma3n.matformer import named_sizes
from gemma3n.named import checkpoint_folder, lasting


def test_nano_is_the_checkpoint_of_the_package_whatever_the_working_directory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "small" in named_sizes(Config.from_folder(checkpoint_folder("nano")))
    assert checkpoint_folder("./nano") == checkpoint_folder(Path("nano")) == Path("nano")
    assert lasting("nano") == "nano"
    assert lasting("./nano") == str(tmp_path / "nano")


FOLDERS = ["e2b", "./a/e2b", "../a/e2b", "a/e2b/", "/a/e2b", "b/a/e2b", "~/e2b"]
NAMELESS = ["a/.b", "-a/b", "a/b.", "a/b@", "a/b@../c", "a/b@c/../d", "a /b", "a/b@c d", "é/a", ""]


@pytest.mark.parametrize("name", [*FOLDERS, *NAMELESS])
def test_what_cannot_be_a_repository_is_the_path_of_a_folder(name: str) -> None:
    assert repository(name) is None
    assert checkpoint_folder(name) == Path(name)


def test_a_folder_that_is_there_is_never_asked_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "google/e2b").mkdir(parents=True)
    (tmp_path / "google/file").touch()
    (tmp_path / "google/dangling").symlink_to("nowhere")
    monkeypatch.chdir(tmp_path)
    for name in ("google/e2b", "google/file", "google/dangling"):
        assert checkpoint_folder(name) == Path(name)
    assert lasting("google/e2b") == str(tmp_path / "google/e2b")
    assert checkpoint_folder(Path("google/other")) == Path("google/other")


def test_owner_and_name_of_nothing_here_are_a_repository() -> None:
    assert repository("google/gemma-3n-E2B-it") == Repository("google/gemma-3n-E2B-it", "main")
    assert repository("a/b@refs/pr/1") == Repository("a/b", "refs/pr/1")
    assert str(repository("a/b")) == "a/b"
    assert str(repository("a/b@v1.0")) == "a/b@v1.0"


def test_without_the_extra_a_name_on_the_hub_says_which_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(SettingsError, match=r"'google/e2b' is no folder here.*install .*\[hub\]"):
        checkpoint_folder("google/e2b")


def test_help_and_checks_import_no_hub_library() -> None:
    code = "import sys, gemma3n.loading, pipelines.run; print('huggingface_hub' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
