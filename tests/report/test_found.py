from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines.report.found import find_runs
from pipelines.run import CONFIG

Make = Callable[..., Any]


def test_a_run_an_evaluation_and_a_folder_of_sweeps_are_found(
    make_run: Make, result: Make, tmp_path: Path
) -> None:
    for name in ("evaluated/full", "evaluated/small", "deep/sweep/a=1/full", "alone"):
        make_run([result("a")], name)
    (tmp_path / "evaluated" / CONFIG).write_text("# gemma3n evaluate: so\n")
    (tmp_path / "other").mkdir()

    def names(*paths: str) -> list[str]:
        return [found.name for found in find_runs([str(tmp_path / path) for path in paths])]

    assert names("alone") == ["."]
    assert names("evaluated") == ["full", "small"]
    assert names("") == ["alone", "deep/sweep/a=1/full", "evaluated/full", "evaluated/small"]
    assert names("evaluated", "alone") == ["evaluated/full", "evaluated/small", "alone"]


def test_a_run_that_is_named_twice_is_told_of_once(
    make_run: Make, result: Make, tmp_path: Path
) -> None:
    folder = make_run([result("a")], "sweep/one")
    assert len(find_runs([str(folder), str(tmp_path / "sweep")])) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nowhere", "'nowhere' does not exist; a report is about folders. Give the folder that"),
        ("file.txt", "'file.txt' is a file; a report is about folders."),
        ("empty", "'empty' is no run folder and holds none: no config.yaml there was written by"),
        ("foreign", "'foreign' is no run folder and holds none"),
        ("trained", "'trained' is a folder of gemma3n train, which leaves no rows to tell of."),
    ],
)
def test_what_is_no_run_is_refused(
    name: str, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder, config in (("empty", ""), ("foreign", "# mine\n"), ("trained", "# gemma3n train:")):
        Path(folder).mkdir()
        if config:
            (Path(folder) / CONFIG).write_text(config)
    Path("file.txt").touch()
    with pytest.raises(SettingsError) as error:
        find_runs([name])
    assert why in str(error.value)
