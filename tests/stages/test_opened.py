import os
from pathlib import Path

import pytest

from gemma3n.errors import InputError
from stages.opened import opened


def test_a_file_is_open_at_its_beginning(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"123")
    with opened(str(tmp_path / "a")) as file:
        assert file.read() == b"123"


def test_each_thing_that_is_no_file_with_bytes_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "x.wav").mkdir()
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    (tmp_path / "empty.wav").touch()
    os.mkfifo(tmp_path / "pipe.wav")
    for name, why in {
        "x.wav": "x.wav' is not a file but a folder. Correct the path",
        "link.wav": "cannot be opened: it is a link to '.*gone.wav', which does not exist",
        "gone.wav": "gone.wav' cannot be opened: No such file or directory. Correct",
        "empty.wav": "empty.wav' is empty, 0 bytes. Copy it anew",
        "pipe.wav": "is not a file but a pipe, a device or the like",
    }.items():
        with pytest.raises(InputError, match=why), opened(str(tmp_path / name)):
            pass


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(path: object, mode: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    (tmp_path / "a.wav").write_bytes(b"1")
    monkeypatch.setattr("builtins.open", forbid)
    with pytest.raises(InputError, match=r"a\.wav' cannot be opened: Permission denied"):
        opened(str(tmp_path / "a.wav")).__enter__()


def test_what_goes_wrong_while_it_is_read_is_not_a_file_that_cannot_be_opened(
    tmp_path: Path,
) -> None:
    (tmp_path / "a.wav").write_bytes(b"1")
    with pytest.raises(OSError, match="unplugged"), opened(str(tmp_path / "a.wav")):
        raise OSError("unplugged")
