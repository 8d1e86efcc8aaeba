"""A job on labelled rows, once a nested size; its results against their references.

Each size is a run folder of its own under the output, as any job leaves it.
"""

import json
import logging
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from pipelines.assemble import TABLE
from pipelines.compose import compose, to_settings, to_yaml, typed_path
from pipelines.exit_code import DONE, ROWS_FAILED
from pipelines.nested import nested_size
from pipelines.output import writable
from pipelines.run import CONFIG, anywhere, new_folder, run_path
from pipelines.scores import Part, Score, difference, row_parts, score
from pipelines.settings import EvaluateJob, NestedSettings, PathJob, Task
from stages.write import Format, replacing

logger = logging.getLogger(__name__)

SCORES, ROWS = "scores.json", "rows.jsonl"
_ALL = "all"  # the set of rows that name none
_SHOWN = {
    Task.transcribe: {"wer": "WER %", "cer": "CER %", "exact": "exact %"},
    Task.caption: {"exact": "exact %", "f1": "token F1 %"},
    Task.generate: {"exact": "exact %", "f1": "token F1 %"},
}


@dataclass(frozen=True)
class Scored:
    """One row at one nested size."""

    item: str
    set: str
    size: str
    reference: str
    text: str  # nothing, if the row failed
    failed: bool
    parts: Mapping[str, Part]


def evaluate(job: EvaluateJob) -> int:
    """Run, score, print.

    Returns:
        Exit code: 0 all done, 3 some rows failed (they count as if nothing was said), 130
        interrupted.

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
    if not job.sizes or len(set(job.sizes)) < len(job.sizes):
        raise SettingsError(f"sizes={job.sizes}; name at least one size, and each once.")
    if job.worst < 0:
        raise SettingsError(f"worst={job.worst}; 0 or more. Leave it out for the default.")
    config = Config.from_folder(job.model.folder)
    for size in job.sizes:
        nested_size(NestedSettings(name=size), config)
    output = str(new_folder("evaluate")) if job.output is None else job.output
    code, rows = DONE, []
    with writable(output) as folder:
        for size in job.sizes:
            one = run_path(_path_job(job, size), folder / size, f"gemma3n evaluate, {size}")
            if one not in (DONE, ROWS_FAILED):
                return one
            code = code or one
            rows += list(_scored(folder / size, size))
        if not rows:
            raise SettingsError(
                f"no row of {job.source.path} has a reference to be compared with. "
                'Give a manifest (.jsonl) whose lines have "text" or "reference".'
            )
        document = _document(job, rows)
        with replacing(folder / CONFIG) as file:
            file.write(to_yaml(anywhere(job)).encode())
        with replacing(folder / SCORES) as file:
            file.write((json.dumps(document, indent=2) + "\n").encode())
        with replacing(folder / ROWS) as file:
            for row in _worst_first(rows):
                file.write((json.dumps(asdict(row), ensure_ascii=False) + "\n").encode())
    if job.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        _print(job, document, rows)
        sys.stdout.write(f"{output}\n")
    return code


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
        precision=job.precision,
        device=job.device,
        nested=NestedSettings(name=size),
        ple=job.ple,
        executor=job.executor,
        source=replace(job.source, media=media),
        mel=job.mel,
        resize=job.resize,
        encode=job.encode,
        fuse=replace(job.fuse, prompt=job.fuse.prompt or base.fuse.prompt),
        decode=job.decode,
        sink=replace(base.sink, formats=[Format.parquet]),
    )


def _scored(run: Path, size: str) -> Iterable[Scored]:
    left_out = 0
    for row in pq.read_table(run / f"{TABLE}.parquet").to_pylist():
        if row["reference"] is None:
            left_out += 1
            continue
        text = row["text"] or ""
        yield Scored(
            item=row["item"],
            set=json.loads(row["extra"] or "{}").get("set") or _ALL,
            size=size,
            reference=row["reference"],
            text=text,
            failed=row["error"] is not None,
            parts=row_parts(row["reference"], text),
        )
    if left_out:
        logger.warning("%d rows without a reference left out", left_out)


def _document(job: EvaluateJob, rows: list[Scored]) -> dict[str, Any]:
    """All scores, by set and size."""
    groups: dict[str, dict[str, list[Scored]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        groups[row.set][row.size].append(row)
    first = job.sizes[0]
    sets = {
        name: {
            size: {
                "rows": len(some),
                "failed": sum(row.failed for row in some),
                **{metric: asdict(score(_parts(some, metric))) for metric in some[0].parts},
                f"over {first}": {
                    metric: asdict(difference(_parts(some, metric), _parts(by_size[first], metric)))
                    for metric in some[0].parts
                },
            }
            for size, some in by_size.items()
        }
        for name, by_size in groups.items()
    }
    return {"model": job.model.path, "task": job.task.value, "sets": sets}


def _parts(rows: list[Scored], metric: str) -> list[Part]:
    return [row.parts[metric] for row in rows]


def _worst_first(rows: list[Scored]) -> list[Scored]:
    def badness(row: Scored) -> tuple[float, float]:
        return -row.parts["wer"].of, -row.parts["cer"].of

    return sorted(rows, key=badness)


def _print(job: EvaluateJob, document: dict[str, Any], rows: list[Scored]) -> None:
    console = Console(markup=False, highlight=False)
    first, shown = job.sizes[0], _SHOWN[job.task]
    table = Table(
        title=f"{job.model.path}, {job.task.value}: 95 % intervals over rows in brackets",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    for name in ("set", "size", "rows", "failed", *shown.values()):
        table.add_column(name, justify="left" if name in ("set", "size") else "right")
    if len(job.sizes) > 1:
        table.add_column(f"{next(iter(shown.values()))} over {first}", justify="right")
    for name, by_size in document["sets"].items():
        for size, found in by_size.items():
            cells = [name, size, str(found["rows"]), str(found["failed"])]
            cells += [_cell(Score(**found[metric])) for metric in shown]
            if size != first:
                cells.append(_cell(Score(**found[f"over {first}"][next(iter(shown))]), "+"))
            table.add_row(*cells)
    console.print(table)
    for name in document["sets"]:
        some = [row for row in rows if row.set == name and row.size == first]
        for row in _worst_first(some)[: job.worst]:
            if row.parts["exact"].of < 1:
                console.print(f"{name}: {row.item}\n  right: {row.reference}\n  said:  {row.text}")


def _cell(one: Score, sign: str = "") -> str:  # 12.3 [10.0 15.0]
    value, low, high = (f"{100 * number:{sign}.1f}" for number in (one.value, one.low, one.high))
    return f"{value} [{low} {high}]"
