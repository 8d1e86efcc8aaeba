"""A job on labelled rows, once a nested size; its results against their references.

Each size is a run folder of its own under the output, as any job leaves it. What else is written
is described in `score_files`.
"""

import json
import logging
import sys
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from pipelines import calibrate
from pipelines.choices import choices_of
from pipelines.committed import Moved
from pipelines.compose import compose, to_settings, typed_path
from pipelines.evaluate_table import print_hint, print_scores, print_worst
from pipelines.exit_code import DONE, INTERRUPTED
from pipelines.hints import hint_of_scores
from pipelines.intervals import Metric
from pipelines.mistakes import example
from pipelines.nested import check_policy, nested_size
from pipelines.normalisers import normaliser
from pipelines.output import writable
from pipelines.path import check_path, check_prompt, unused_groups
from pipelines.run import SUMMARY, check_folder, check_ours, own_folder, run_path, write_config
from pipelines.score_files import ROWS, SCORES, Run, Scores, write_rows, write_scores
from pipelines.score_sets import score_sets, score_slices
from pipelines.scored import Scored, Scoring, labelled, scored_rows, unlabelled, worst_first
from pipelines.scores import METRICS
from pipelines.settings import EvaluateJob, NestedSettings, PathJob, PolicyKind, Task
from pipelines.translation_scores import TranslationScores
from stages.source import list_items
from stages.write import Format

logger = logging.getLogger(__name__)

_GROUPS = (
    "policy",
    "ple",
    "executor",
    "mel",
    "resize",
    "encode",
    "fuse",
    "decode",
)  # as in a path job
_SHOWN = {
    Task.transcribe: ("wer", "cer", "exact"),
    Task.translate: ("bleu", "chrf", "exact"),
    Task.caption: ("exact", "f1"),
    Task.generate: ("exact", "f1"),
}

Group = TypeVar("Group")


def evaluate(job: EvaluateJob, command: str = "") -> int:
    """Run, score, print; or compare what was run before, or run a task of lm-eval.

    Args:
        job: what to run.
        command: that asks for it, for the logs.

    Returns:
        Exit code: 0 all done, 3 some rows failed (they count as if nothing was said), 130
        interrupted (sizes that were done are scored).

    Raises:
        SettingsError: the job cannot be run, no such size, or no row has a reference.
    """
    if job.compare:
        from pipelines.compare import compare

        return compare(job)
    if job.task not in Task.__members__:
        from pipelines.lm_eval_tasks import evaluate_task

        return evaluate_task(job)
    check_jiwer()
    for name in ("shots", "chat"):
        if getattr(job, name):
            raise SettingsError(
                f"{name}={getattr(job, name)} is of tasks of lm-eval, and task={job.task} is none. "
                "Leave it out, or set task= to one of those, such as gsm8k."
            )
    if not job.source.path:
        raise SettingsError(
            "source.path is not set, and evaluate needs it: labelled rows. "
            f"For example: {example('evaluate')}"
        )
    return _evaluate(job, Task[job.task], command)


def check_jiwer() -> None:
    """Refuse to go on without what counts errors.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import jiwer  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "evaluate counts word errors with jiwer, which is not installed. "
            "Install gemma3n-pipelines[eval]."
        ) from error


def _evaluate(job: EvaluateJob, task: Task, command: str) -> int:
    first = _path_job(job, task, job.sizes[0])
    labels = _check(job, task, first)
    scoring = scoring_of(job, task, first.fuse.to)
    job = replace(job, model=job.model.pinned())
    runs = {size: _path_job(job, task, size) for size in _distinct(job)}
    config = Config.from_folder(job.model.folder)
    for run in runs.values():
        check_policy(run.policy, nested_size(run.nested, config), config)
    if job.calibrate:
        _check_calibration(job, list(runs), labels)
    output = job.output
    if output is None:
        output = str(own_folder("evaluate", list(runs.values())))
    code, done = DONE, []
    with writable(output) as folder:
        check_ours(folder, [SCORES, ROWS])
        for size in runs:
            check_folder(folder / size)
        for name in (SCORES, ROWS):
            (folder / name).unlink(missing_ok=True)
        for size, run in runs.items():
            one = run_path(run, folder / size, command)
            code = code or one
            if one == INTERRUPTED:
                break
            done.append(size)
        if done:
            _report(job, task, {size: runs[size] for size in done}, folder, scoring)
    return INTERRUPTED if one == INTERRUPTED else code


def scoring_of(job: EvaluateJob, task: Task | None, to: str | None) -> Scoring:
    """How texts are compared with references in a task.

    Raises:
        SettingsError: it needs a package that is not installed.
    """
    translation = TranslationScores(to or "English") if task is Task.translate else None
    return Scoring(normaliser(job.normalise), translation)


def _distinct(job: EvaluateJob) -> list[str]:
    """Names of the sizes asked for, less those that are another one of them in this checkpoint."""
    config = Config.from_folder(job.model.folder)
    names: dict[tuple[tuple[int, int], ...], str] = {}
    for name in job.sizes:
        size = nested_size(NestedSettings(name=name), config)
        widths = tuple(sorted(size.ffn_widths(config.text).items()))
        if widths in names:
            logger.warning("%s is the same as %s in this checkpoint: left out", name, names[widths])
        names.setdefault(widths, name)
    return list(names.values())


def _path_job(job: EvaluateJob, task: Task, size: str) -> PathJob:
    """The task at one size: what its YAML says, and what was asked of this job."""
    name = task.value
    sources = ",".join(typed_path(path) for path in job.source.path)
    words = [f"source.path=[{sources}]", f"model.path={typed_path(job.model.path)}"]
    base: PathJob = to_settings(name, compose(name, words))
    media = [kind for kind in base.source.media if kind in job.source.media]
    return replace(
        base,
        fresh=job.fresh,
        retry_failed=job.retry_failed,
        precision=job.precision,
        pack=job.pack,
        compile=job.compile,
        device=job.device,
        adapter=job.adapter,
        nested=NestedSettings(name=size),
        source=_over(base.source, replace(job.source, media=media)),
        sink=replace(base.sink, formats=[Format.parquet]),
        **{group: _over(getattr(base, group), getattr(job, group)) for group in _GROUPS},
    )


def _over(base: Group, asked: Group) -> Group:
    """`base` with all that was asked for other than by default."""
    wanted = {name: getattr(asked, name) for name in changed(asked)}
    return replace(base, **wanted)  # type: ignore[type-var]


def changed(group: Any) -> list[str]:
    """Settings of a group that are not what they are by default."""
    default = type(group)()
    names = [field.name for field in fields(group)]
    return [name for name in names if getattr(group, name) != getattr(default, name)]


def _check(job: EvaluateJob, task: Task, run: PathJob) -> int:
    """Refuse before any work what a run would refuse after some of it; sizes make no difference.

    Returns:
        How many rows have a reference.
    """
    check_path(run)
    check_prompt(run)
    for group in unused_groups(run.path) & set(_GROUPS):
        if names := changed(getattr(job, group)):
            raise SettingsError(
                f"{group}.{names[0]}: {task.value} has no stage {group} on its path "
                f"{run.path}. Leave the setting out."
            )
    labels, usable, why = 0, 0, ""
    for row in list_items(run.source):
        if row.get("reference") is None:
            continue
        labels += 1
        if error := row.get("error"):
            why = why or error["message"]
        else:
            usable += 1
    if not labels:
        raise SettingsError(
            f"no row of {job.source.path} has a reference to be compared with. "
            'Give a manifest (.jsonl) whose lines have "text" or "reference".'
        )
    if not usable:
        raise SettingsError(
            f"none of the {labels} labelled rows of {job.source.path} can be used by "
            f"task={task.value}. The first: {why} Or set task= to what the rows are for."
        )
    return labels


def _check_calibration(job: EvaluateJob, sizes: Sequence[str], labels: int) -> None:
    if job.policy.kind is not PolicyKind.single:
        raise SettingsError(
            f"calibrate=true lets each size answer alone, but policy={job.policy.kind.value} is "
            "given too. Leave policy out; what comes of it is for policy.threshold."
        )
    if len(sizes) < 2:
        raise SettingsError(
            f"calibrate=true weighs two nested sizes, but sizes={job.sizes} is "
            f"{sizes[0]} only in this checkpoint. Name two that differ: sizes=[full,small]."
        )
    if labels < calibrate.FEWEST:
        raise SettingsError(
            f"calibrate=true has {labels} labelled rows, of which one half chooses and the other "
            f"judges; at least {calibrate.FEWEST}. Give more, or leave it out."
        )


def _report(
    job: EvaluateJob, task: Task, runs: dict[str, PathJob], folder: Path, scoring: Scoring
) -> None:
    listed = [
        Moved(row["item"], row["place"], row["stamp"] or "")
        for row in list_items(next(iter(runs.values())).source)
    ]
    items = {size: list(labelled(folder / size, listed)) for size in runs}
    rows = list(chain.from_iterable(scored_rows(items[s], s, scoring) for s in runs))
    found = scores_of(rows, scoring, task)
    found["model"], found["normalise"] = job.model.path, job.normalise.value
    found["runs"] = {size: run_of(folder / size, size) for size in runs}
    if job.calibrate and len(runs) > 1:
        large, small, *_ = runs
        name = next(iter(found["shown"]))
        choices = list(choices_of(items[small], items[large], scoring, name))
        metric = metrics_of(scoring)[name]
        chosen = calibrate.calibrate(choices, (small, large), name, metric, job.tolerance, job.seed)
        found["calibration"] = asdict(chosen)
    write_config(job, "evaluate", folder)
    finish(job, worst_first(rows), found, folder)


def finish(job: EvaluateJob, rows: Sequence[Scored], found: Scores, folder: Path) -> None:
    """Write what was found, and print it."""
    write_scores(found, folder)
    write_rows(rows, folder)
    if job.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    print_scores(found)
    print_worst(rows, found, job.worst)
    metric = next(iter(found["shown"]))
    if not job.compare and (hint := hint_of_scores(found, metric)):
        print_hint(hint)
    sys.stdout.write(f"{folder}\n")


def metrics_of(scoring: Scoring) -> dict[str, Metric]:
    """All that is scored."""
    return METRICS if scoring.translation is None else METRICS | scoring.translation.metrics


def scores_of(rows: Sequence[Scored], scoring: Scoring, task: Task) -> Scores:
    """Scores of all sets and slices; the first row's size is the one others are compared with."""
    metrics, over = metrics_of(scoring), rows[0].size
    found: Scores = {
        "task": task.value,
        "shown": {name: metrics[name].name for name in _SHOWN[task]},
        "lower_is_better": [name for name, metric in metrics.items() if metric.lower_is_better],
        "over": over,
        "sets": score_sets(rows, metrics, over),
        "slices": score_slices(rows, metrics, over),
    }
    if scoring.translation is not None:
        found["signatures"] = scoring.translation.signatures
    return found


def run_of(folder: Path, name: str) -> Run:
    """How a run went, from what it left; it may have left no summary if it was killed."""
    summary = folder / SUMMARY
    seconds = None
    if summary.is_file():
        told = json.loads(summary.read_text(encoding="utf-8"))
        # Of a run that went on they are those of its last stretch, and say nothing of its speed.
        seconds = None if told["earlier"] else told["seconds"]
    return {"folder": name, "seconds": seconds, "unlabelled": unlabelled(folder)}
