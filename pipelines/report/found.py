"""Paths as they were given -> the run folders there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma3n.errors import SettingsError
from pipelines.run import CONFIG
from pipelines.score_files import SCORES
from stages.write import PARTS

_OURS = b"# gemma3n "  # how the config of a run begins
_DEPTH = 4  # folders below the one given: a sweep's run, its evaluation, its size
_HOW = "Give the folder that a run printed last, such as outputs/transcribe/recordings-1a2b3c4d."


@dataclass(frozen=True)
class Found:
    """One run folder."""

    folder: Path
    name: str  # where in what was given; `.` for what was given itself


def find_runs(paths: list[str]) -> list[Found]:
    """All run folders that the paths are or hold, each once, in the order of the paths.

    Raises:
        SettingsError: a path is no folder, or neither a run nor an evaluation is there.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        folder = Path(path)
        if not folder.is_dir():
            what = "is a file" if folder.exists() else "does not exist"
            raise SettingsError(f"'{path}' {what}; a report is about folders. {_HOW}")
        runs = list(folders_below(folder, _is_run))
        if not runs and not any(folders_below(folder, is_evaluation)):
            raise SettingsError(f"'{path}' {_what(folder)}. {_HOW}")
        for run in runs:
            name = run.relative_to(folder).as_posix()
            if len(paths) > 1:
                name = folder.name if name == "." else f"{folder.name}/{name}"
            found.setdefault(run.resolve(), Found(run, name))
    return list(found.values())


def folders_below(
    folder: Path, wanted: Callable[[Path], bool], depth: int = _DEPTH
) -> Iterator[Path]:
    """The folder itself, or else those in it, that are wanted; nothing inside one that is."""
    if wanted(folder):
        yield folder
    elif depth:
        for inner in sorted(folder.iterdir()):
            if inner.is_dir() and not inner.is_symlink() and not inner.name.startswith("."):
                yield from folders_below(inner, wanted, depth - 1)


def _is_run(folder: Path) -> bool:
    return bool(job_of(folder)) and (folder / PARTS).is_dir()


def is_evaluation(folder: Path) -> bool:
    """Whether `evaluate` left its scores there."""
    return job_of(folder) == "evaluate" and (folder / SCORES).is_file()


def job_of(folder: Path) -> str:
    """The job whose folder it is, by the first line of its config; empty for any other folder."""
    try:
        with (folder / CONFIG).open("rb") as file:
            line = file.readline(200)
    except OSError:
        return ""
    if not line.startswith(_OURS):
        return ""
    return line.removeprefix(_OURS).partition(b":")[0].decode("utf-8", "replace").strip()


def _what(folder: Path) -> str:
    if job := job_of(folder):
        return f"is a folder of gemma3n {job}, which leaves no rows to tell of"
    return f"is no run folder and holds none: no {CONFIG} there was written by a run of gemma3n"
