"""A job on labelled rows, once a nested size; its results against their references.

Each size is a run folder of its own under the output, as any job leaves it.
"""

import json
import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from pipelines.compose import compose, to_settings, typed_path
from pipelines.exit_code import DONE, INTERRUPTED
from pipelines.nested import nested_size
from pipelines.output import writable
from pipelines.path import check_path, check_prompt, unused_groups
from pipelines.run import check_folder, check_ours, new_folder, run_path, write_config
from pipelines.scored import Scored, scored_rows, scores_of, worst_first
from pipelines.settings import EvaluateJob, NestedSettings, PathJob, Task
from pipelines.show import visible
from stages.source import list_items
from stages.write import Format, replacing

logger = logging.getLogger(__name__)

SCORES, ROWS = "scores.json", "rows.jsonl"
_GROUPS = ("ple", "executor", "mel", "resize", "encode", "fuse", "decode")  # as in a path job
_SHOWN = {
    Task.transcribe: {"wer": "WER %", "cer": "CER %", "exact": "exact %"},
    Task.caption: {"exact": "exact %", "f1": "token F1 %"},
    Task.generate: {"exact": "exact %", "f1": "token F1 %"},
}

Group = TypeVar("Group")


def evaluate(job: EvaluateJob, command: str = "") -> int:
    """Run, score, print.

    Args:
        job: what to run.
        command: that asks for it, for the logs.

    Returns:
        Exit code: 0 all done, 3 some rows failed (they count as if nothing was said), 130
        interrupted (sizes that were done are scored).

    Raises:
        SettingsError: the job cannot be run, no such size, or no row has a reference.
    """
    try:
        import jiwer  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            "evaluate counts word errors with jiwer, which is not installed. "
            "Install gemma3n-pipelines[eval]."
        ) from error
    if job.worst < 0:
        raise SettingsError(f"worst={job.worst}; 0 or more. Leave it out for the default.")
    if not job.sizes:
        raise SettingsError("sizes=[]; name at least one nested size.")
    _check(job, _path_job(job, job.sizes[0]))
    job = replace(job, model=job.model.pinned())
    runs = {size: _path_job(job, size) for size in _distinct(job)}
    output = str(new_folder("evaluate")) if job.output is None else job.output
    code = DONE
    rows: list[Scored] = []
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
            rows += scored_rows(folder / size, size)
        if rows:
            _report(job, rows, folder)
    return INTERRUPTED if one == INTERRUPTED else code


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


def _path_job(job: EvaluateJob, size: str) -> PathJob:
    """The task at one size: what its YAML says, and what was asked of this job."""
    name = job.task.value
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
        device=job.device,
        nested=NestedSettings(name=size),
        source=_over(base.source, replace(job.source, media=media)),
        sink=replace(base.sink, formats=[Format.parquet]),
        **{group: _over(getattr(base, group), getattr(job, group)) for group in _GROUPS},
    )


def _over(base: Group, asked: Group) -> Group:
    """`base` with all that was asked for other than by default."""
    changed = {name: getattr(asked, name) for name in _changed(asked)}
    return replace(base, **changed)  # type: ignore[type-var]


def _changed(group: Any) -> list[str]:
    default = type(group)()
    names = [field.name for field in fields(group)]
    return [name for name in names if getattr(group, name) != getattr(default, name)]


def _check(job: EvaluateJob, run: PathJob) -> None:
    """Refuse before any work what a run would refuse after some of it; sizes make no difference."""
    check_path(run)
    check_prompt(run)
    for group in unused_groups(run.path) & set(_GROUPS):
        if names := _changed(getattr(job, group)):
            raise SettingsError(
                f"{group}.{names[0]}: {job.task.value} has no stage {group} on its path "
                f"{run.path}. Leave the setting out."
            )
    if not any(row.get("reference") is not None for row in list_items(run.source)):
        raise SettingsError(
            f"no row of {job.source.path} has a reference to be compared with. "
            'Give a manifest (.jsonl) whose lines have "text" or "reference".'
        )


def _report(job: EvaluateJob, rows: list[Scored], folder: Path) -> None:
    found = scores_of(rows, folder)
    document = {"model": job.model.path, "task": job.task.value, **found}
    write_config(job, "evaluate", folder)
    with replacing(folder / SCORES) as file:
        file.write((json.dumps(document, indent=2) + "\n").encode())
    rows = worst_first(rows)
    with replacing(folder / ROWS) as file:
        for row in rows:
            file.write((json.dumps(asdict(row), ensure_ascii=False) + "\n").encode())
    if job.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        return
    console = Console(markup=False, highlight=False, emoji=False)
    console.print(_table(job, found))
    for name in found["sets"]:
        some = [row for row in rows if row.set == name and row.size == found["over"]]
        for row in some[: job.worst]:
            if row.parts["exact"].of < 1:
                shown = map(visible, (row.set, row.item, row.reference, row.text))
                lines = "{}: {}\n  right: {}\n  said:  {}".format(*shown)
                console.print(lines, soft_wrap=True)
    sys.stdout.write(f"{folder}\n")


def _table(job: EvaluateJob, found: Mapping[str, Any]) -> Table:
    shown, over = _SHOWN[job.task], found["over"]
    first = next(iter(shown))
    table = Table(
        title=f"{job.model.path}, {job.task.value}: 95 % intervals over rows in brackets",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    for name in ("set", "size", "rows", "failed", *shown.values()):
        table.add_column(name, justify="left" if name in ("set", "size") else "right")
    if len(found["runs"]) > 1:
        table.add_column(f"{shown[first]} over {over}", justify="right")
    for name, by_size in found["sets"].items():
        for size, one in by_size.items():
            cells = [visible(name), size, str(one["rows"]), str(one["failed"])]
            cells += [_cell(one["scores"][metric]) for metric in shown]
            if size != over:
                cells.append(_cell(one["difference"][first], "+"))
            table.add_row(*cells)
    return table


def _cell(one: Mapping[str, float | None], sign: str = "") -> str:
    """Percent, as in `12.3 [10.0 15.0]`."""
    value, low, high = (
        "" if one[name] is None else f"{100 * (one[name] or 0):{sign}.1f}"
        for name in ("value", "low", "high")
    )
    return f"{value} [{low} {high}]" if low else value
