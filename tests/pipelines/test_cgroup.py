"""A memory limit of our own, where this system lets us have one."""

import subprocess
import sys

import pytest

from gemma3n.errors import SettingsError
from pipelines.cgroup import Group, limited

_MANY = 200_000_000
_EATS = (
    "import sys; from pathlib import Path; from pipelines.cgroup import Group; "
    "Group(Path(sys.argv[1]), sys.argv[2]).join(); eaten = b'x' * int(sys.argv[3])"
)


def eat(group: Group, many: int) -> int:
    words = [sys.executable, "-c", _EATS, str(group.folder), group.peak_name, str(many)]
    return subprocess.run(words, check=False).returncode


def test_a_process_in_a_group_has_no_more_memory_than_its_limit() -> None:
    try:
        with limited(_MANY) as group:
            assert eat(group, _MANY // 4) == 0
            assert _MANY // 4 < group.peak_bytes <= _MANY
            assert eat(group, 2 * _MANY) != 0
    except SettingsError as error:
        pytest.skip(str(error))
    assert not group.folder.exists()


def test_where_there_can_be_no_group_another_way_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr("pipelines.cgroup._ROOT", tmp_path)
    with (
        pytest.raises(SettingsError, match=r"needs a cgroup.* or all of it under .*memory_gb=0"),
        limited(_MANY),
    ):
        pass
