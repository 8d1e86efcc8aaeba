"""Words -> the runs of a sweep: each composed and checked before any begins, and named."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from gemma3n.errors import SettingsError
from pipelines import compose
from pipelines.fingerprint import digest
from pipelines.flat import flat
from pipelines.keys import Key
from pipelines.run import anywhere, check_job
from pipelines.settings import PathJob, SourceJob
from pipelines.sweep.axes import Words
from stages.source import STDIN

MOST = 200  # runs; more is rather a slip than a wish
_NAME = 100  # letters of a folder's name
# What makes no difference to which sweep this is: it goes on in the same folder.
_LEFT_OUT = ("output", "fresh", "retry_failed", "device", "worst", "json")
_GROUPS_LEFT_OUT = ("executor", "sink")


@dataclass(frozen=True)
class Run:
    """One run of a sweep."""

    name: str  # of its folder: `nested-small_precision-float32`
    differs: dict[str, str]  # from the others, by setting as it was typed
    overrides: list[str]
    settings: SourceJob


def composed_runs(
    job: str,
    keys: Mapping[str, Key],
    words: Words,
    paths: Sequence[str],
    file: Mapping[str, Any] | None,
) -> tuple[list[Run], list[str]]:
    """Compose and check every run.

    Args:
        job: its name.
        keys: the settings it has.
        words: of the command line, and of an experiment; without the folder.
        paths: that stand alone.
        file: the settings of an earlier run, of `--from`.

    Returns:
        The runs, and warnings.

    Raises:
        SettingsError: a run that cannot be, or so many that it is a slip.
    """
    if (count := _count(words)) > MOST:
        raise SettingsError(
            f"{' x '.join(f'{len(one.words)} {one.name}' for one in words.axes.values())} are "
            f"{count} runs; a sweep has at most {MOST}. Give fewer values."
        )
    runs: dict[str, Run] = {}
    warnings: dict[str, None] = {}
    for own, some in words.runs():
        overrides, said = compose.overrides_of(job, keys, some, paths)
        config = compose.compose(job, overrides, file)
        compose.check_used(job, config, overrides)
        settings: Any = compose.to_settings(job, config)
        _check(settings)
        warnings |= dict.fromkeys(said)
        name = folder_name(own) or "run"
        if name in runs:  # they differ by signs that no name has
            name = f"{name}-{digest(own)}"
        runs[name] = Run(name, own, overrides, settings)
    return list(runs.values()), list(warnings)


def sweep_folder(job: str, words: Words, runs: Sequence[Run]) -> Path:
    """The folder of a sweep that names none: the same for the same sweep, so that it goes on.

    The values of its axes are no part of it: with more of them it is a larger sweep of the same.
    """
    first = anywhere(runs[0].settings)
    # An axis may be a setting, or a whole group: `decode=glob(*)`.
    own = {*words.axes, *(one.name for one in words.axes.values())}
    shared = {
        name: value
        for name, value in flat(yaml.safe_load(compose.to_yaml(first))).items()
        if name not in {*_LEFT_OUT, *own}
        and name.partition(".")[0] not in {*_GROUPS_LEFT_OUT, *own}
    }
    name = re.sub(r"[^\w.-]+", "_", Path(first.source.path[0]).name).strip("._")[:60]
    return Path("outputs") / job / f"sweep-{name or 'source'}-{digest([shared, [*words.axes]])}"


def _count(words: Words) -> int:
    count = 1
    for one in words.settings.values():
        count *= len(one.words)
    return count


def _check(settings: SourceJob) -> None:
    if STDIN in settings.source.path:
        raise SettingsError(
            "a list on stdin can be read once, but each run of a sweep reads its source. Write the "
            "list to a manifest (.jsonl or .csv, a file a line), and give that."
        )
    if isinstance(settings, PathJob):
        check_job(settings)


def folder_name(differs: Mapping[str, str]) -> str:
    """A folder's name that people can read: settings by their last word, and their values."""
    short = (f"{name.rpartition('.')[2]}-{text}" for name, text in differs.items())
    name = "_".join(re.sub(r"[^\w.+-]+", "_", one).strip("_") for one in short)
    return name if len(name) <= _NAME else f"{name[:_NAME]}-{digest(differs)}"
