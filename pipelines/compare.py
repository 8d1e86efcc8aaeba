"""Finished runs over the same labelled rows -> their scores, and what differs from the first."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import yaml

from gemma3n.errors import SettingsError
from pipelines.committed import part_files
from pipelines.evaluate import check_jiwer, finish, run_of, scores_of, scoring_of
from pipelines.exit_code import DONE
from pipelines.output import writable
from pipelines.run import CONFIG, check_ours, new_folder, write_config
from pipelines.score_files import ROWS, SCORES, read_scores
from pipelines.scored import Scored, labelled, scored_rows, worst_first
from pipelines.settings import EvaluateJob, Task

logger = logging.getLogger(__name__)

_HOW = "Give run folders of jobs over labelled rows, such as those that evaluate leaves a size."


@dataclass(frozen=True)
class _Ran:
    folder: Path
    config: Mapping[str, Any]

    @property
    def task(self) -> str:
        return str(self.config.get("job"))


def compare(job: EvaluateJob) -> int:
    """Score runs anew, side by side; see `evaluate`.

    Rows are paired by item. A row that only one of two runs has counts in its own scores, and not
    in the difference.

    Raises:
        SettingsError: a folder is no such run, or two of them have no labelled row in common.
    """
    check_jiwer()
    _check(job)
    runs = _labelled_runs([_ran(Path(path)) for path in job.compare])
    first = next(iter(runs.values()))
    task = Task[first.task]
    scoring = scoring_of(job, task, first.config.get("fuse", {}).get("to"))
    by_run = {
        label: list(scored_rows(labelled(run.folder), label, scoring))
        for label, run in runs.items()
    }
    _check_rows(by_run, runs)
    rows = list(chain.from_iterable(by_run.values()))
    found = scores_of(rows, scoring, task)
    models = dict.fromkeys(str(run.config.get("model", {}).get("path")) for run in runs.values())
    found["model"], found["normalise"] = " | ".join(models), job.normalise.value
    found["runs"] = {
        label: run_of(run.folder, str(run.folder.absolute())) for label, run in runs.items()
    }
    with writable(str(new_folder("evaluate")) if job.output is None else job.output) as folder:
        check_ours(folder, [SCORES, ROWS])
        write_config(job, "evaluate", folder)
        finish(job, worst_first(rows), found, folder)
    return DONE


def _check(job: EvaluateJob) -> None:
    if len(job.compare) < 2:
        raise SettingsError(f"compare={job.compare} is one run; name at least two. {_HOW}")
    if job.source.path or job.calibrate:
        given = "calibrate=true" if job.calibrate else f"source.path={job.source.path}"
        raise SettingsError(
            f"compare= looks at what was run before and runs nothing, but {given} is given too. "
            "Leave one of the two out."
        )


def _ran(folder: Path) -> _Ran:
    """What was run in a folder; that of an evaluation at one size stands for that size."""
    if (folder / SCORES).is_file():
        sizes = list(read_scores(folder).get("runs", {}))
        here = [size for size in sizes if part_files(folder / size)]
        if len(here) > 1:
            named = ", ".join(str(folder / size) for size in here)
            raise SettingsError(f"'{folder}' holds several runs. Name one: {named}.")
        folder = folder / here[0] if here else folder
    if not part_files(folder) or not (folder / CONFIG).is_file():
        raise SettingsError(f"'{folder}' is not the folder of a run. {_HOW}")
    config = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))
    ran = _Ran(folder, config if isinstance(config, dict) else {})
    if ran.task not in Task.__members__:
        raise SettingsError(
            f"'{folder}' is a run of {ran.task}; those of {', '.join(Task.__members__)} can be "
            f"compared. {_HOW}"
        )
    return ran


def _labelled_runs(runs: list[_Ran]) -> dict[str, _Ran]:
    """Runs by names that are as short as they can be and tell them apart."""
    paths = [os.path.realpath(run.folder) for run in runs]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise SettingsError(f"compare= names '{twice[0]}' twice. Name each run once.")
    common = os.path.commonpath(paths)
    names = [os.path.relpath(path, common) for path in paths]
    if "." in names:  # one is within another
        names = paths
    return dict(zip(names, runs, strict=True))


def _check_rows(by_run: Mapping[str, list[Scored]], runs: Mapping[str, _Ran]) -> None:
    """Refuse runs that have nothing in common, and say where they have not all."""
    (first, rows), *others = by_run.items()
    if not rows:
        raise SettingsError(f"'{runs[first].folder}' has no labelled rows. {_HOW}")
    references = {row.item: row.reference for row in rows}
    for name, some in others:
        both = [row for row in some if row.item in references]
        if not both:
            raise SettingsError(
                f"'{runs[name].folder}' and '{runs[first].folder}' have no labelled row in common, "
                f"by item. Compare runs over the same rows."
            )
        if len(both) < max(len(some), len(rows)):
            logger.warning(
                "%s has %d labelled rows and %s %d; %d are the same, and only those are compared",
                *(name, len(some), first, len(rows), len(both)),
            )
        if differ := sum(row.reference != references[row.item] for row in both):
            logger.warning("%d rows of %s have another reference than in %s", differ, name, first)
