from pathlib import Path

import pytest

from gemma3n.config import Config
from gemma3n.matformer import named_sizes
from gemma3n.named import checkpoint_folder


def test_nano_is_the_checkpoint_of_the_package_whatever_the_working_directory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nano").mkdir()
    monkeypatch.chdir(tmp_path)
    assert "small" in named_sizes(Config.from_folder(checkpoint_folder("nano")))
    assert checkpoint_folder("./nano") == checkpoint_folder(Path("nano")) == Path("nano")


def test_any_other_name_is_a_folder() -> None:
    assert checkpoint_folder("models/nano") == Path("models/nano")
