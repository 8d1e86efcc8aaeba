"""A job over a source, from its settings to its results, whatever stages are on its path."""

import errno
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from itertools import count
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TypeVar

from gemma3n.adapter_config import read_config
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.named import lasting
from pipelines.assemble import FAILURES, TABLES, assemble
from pipelines.committed import part_files
from pipelines.compact import compact
from pipelines.compose import to_yaml
from pipelines.degrade import Degraded, check_degrade, degraded
from pipelines.energy import counting
from pipelines.executor import executor_of
from pipelines.exit_code import DONE, FULL_STOP, INTERRUPTED, ROWS_FAILED
from pipelines.fingerprint import FINGERPRINT, check_same, digest, fingerprint, write_fingerprint
from pipelines.finished import Finished
from pipelines.hints import tell_hint
from pipelines.item_files import FOLDERS, clear_files
from pipelines.lock import locked
from pipelines.nested import check_policy, nested_size
from pipelines.output import writable
from pipelines.path import check_path, check_prompt, language_note
from pipelines.pools import WORK, check_pools
from pipelines.progress import Summary
from pipelines.settings import ExecutorKind, ModelSettings, PathJob, PlePlacement, SourceJob
from pipelines.timeline import TIMELINE, Timeline
from pipelines.where import planned, where
from stages.media import Media
from stages.model import Load
from stages.source import STDIN, absolute_source, list_items
from stages.write import PARTS, replacing

logger = logging.getLogger(__name__)
Job = TypeVar("Job", bound=SourceJob)

CONFIG, LOG, SUMMARY = "config.yaml", "run.log", "summary.json"
_OURS = "# gemma3n"  # how the config of a run begins: by this a run folder is known
_FILES = (CONFIG, LOG, SUMMARY, TIMELINE, FINGERPRINT, FAILURES, *TABLES.values())
_FULL = (errno.ENOSPC, errno.EDQUOT)
_ESCAPED = "backslashreplace"  # names of files may hold bytes that are no text
_PACKAGES = ("pipelines", "stages", "gemma3n")
# They say which nested size stands in for which, and what to try next.
_NOTES = ("gemma3n.matformer", "gemma3n.loading", "pipelines.hints")


def run_job(job: PathJob, command: str = "") -> int:
    """Run a job and say where its results are; see `run_path`."""
    check_job(job)
    if (folder := job.output) is None:
        job = replace(job, model=job.model.pinned())  # so that all below ask for the same commit
        folder = str(own_folder(job.job, [job]))
    code = _run(job, folder, command)
    sys.stdout.write(f"{Path(folder)}\n")
    return code


def run_path(job: PathJob, output: Path | str, command: str = "") -> int:
    """Check a job, send what is left of its source along its path, and assemble.

    Args:
        job: what to run.
        output: its run folder; what earlier runs of the same job finished there is not done again.
        command: that asks for it, for the log.

    Returns:
        Exit code: 0 all done, 1 the disk is full, 3 some rows failed, 130 interrupted (what was
        done is assembled).

    Raises:
        SettingsError: the job cannot be run; the run folder is as it was then.
    """
    check_job(job)
    return _run(job, output, command)


def _run(job: PathJob, output: Path | str, command: str) -> int:
    with writable(output) as folder, locked(folder), _logging() as log:
        check_folder(folder)
        job = replace(job, model=job.model.pinned())
        job, given_up = degraded(job, model_load(job))
        load = model_load(job)
        now = fingerprint(job, load)
        if has_results(folder) and not job.fresh:
            check_same(folder, now)
        logger.info("%s", command or f"gemma3n {job.job}")
        if note := language_note(job):
            logger.warning("%s", note)
        return _execute(job, load, folder, log, now, given_up)


def check_job(job: PathJob) -> None:
    """See whether a job can be run at all, in milliseconds.

    Raises:
        SettingsError: it cannot.
    """
    check_path(job)
    check_prompt(job)
    check_degrade(job)
    is_ray = job.executor.kind is ExecutorKind.ray
    if job.ple.placement is PlePlacement.store and not is_ray:
        raise SettingsError(
            "ple=store is a table in Ray actors, but the executor is in_process. Set executor=ray, "
            "or ple=mmap or resident."
        )
    if is_ray:
        check_pools(job)
    next(list_items(job.source))  # refuses a source without anything to do


def own_folder(name: str, jobs: Sequence[PathJob]) -> Path:
    """The folder of jobs over one source that name none: the same for the same work.

    Args:
        name: of the job that was asked for, of which these are all the runs.
        jobs: checkpoints of theirs on the hub are pinned.
    """
    source = anywhere(jobs[0]).source
    if STDIN in source.path:  # what is on the list has no name to be found again by
        return new_folder(name)
    works = [fingerprint(job, model_load(job)) for job in jobs]
    stem = re.sub(r"[^\w.-]+", "_", Path(source.path[0]).resolve().name).strip("._")[:60]
    return Path("outputs") / name / f"{stem or 'source'}-{digest([*works, sorted(source.path)])}"


def model_load(job: PathJob) -> Load:
    """How the job's stages load the model: no more parts of it than the job needs.

    Raises:
        SettingsError: not a checkpoint, or no such nested size in it.
    """
    config = Config.from_folder(job.model.folder)
    nested = nested_size(job.nested, config)
    check_policy(job.policy, nested, config)
    adapter = None
    if job.adapter is not None:
        adapter = str(Path(job.adapter).absolute())
        read_config(adapter)
    parts = ["text"] if {"fuse", "decode"} & set(job.path) else []
    parts += ["vision"] if Media.image in job.source.media else []
    parts += ["audio"] if Media.audio in job.source.media else []
    return Load(
        folder=absolute(job.model).path,
        nested=nested,
        budget_gb=job.nested.budget_gb,
        parts=tuple(parts),
        precision=job.precision.value,
        pack=job.pack.value,
        compile=job.compile,
        device=job.device.value,
        ple=job.ple.anywhere().load,
        adapter=adapter,
        towers=job.encode.precision.value,
    )


def _execute(
    job: PathJob,
    load: Load,
    folder: Path,
    log: MemoryHandler,
    now: Mapping[str, Any],
    given_up: Degraded,
) -> int:
    executor = executor_of(job.executor)
    summary = Summary(output=str(folder), degraded=given_up)
    timeline = Timeline(folder, summary)
    code, began = DONE, False

    def begin() -> None:
        nonlocal began
        make_run_folder(job, folder)
        write_fingerprint(folder, now)
        log.setTarget(_formatted(_ToFile(folder / LOG, encoding="utf-8", errors=_ESCAPED)))
        began = True
        timeline.start({"where": where(), "plan": planned(job, load, now["precision"])})

    # Of a job that begins anew, nothing is finished.
    goes_on = has_results(folder) and not job.fresh
    again = f"the same command{' without fresh=true' if job.fresh else ''}"
    try:
        if goes_on:
            compact(folder)
        parts = part_files(folder) if goes_on else []
        with closing(Finished(parts, job.retry_failed)) as finished:
            try:
                with closing(timeline), counting(summary):
                    executor.run(anywhere(job), load, folder, summary, begin, finished)
            except KeyboardInterrupt:
                if not began:
                    raise
                code, summary.interrupted = INTERRUPTED, True
            failed = assemble(folder, job.sink.formats, finished.moved()).failed
        with replacing(folder / SUMMARY) as file:
            file.write((json.dumps(summary.document(), indent=2) + "\n").encode())
    except SettingsError:
        if began and not goes_on and not summary.rows:
            clear_run(folder)
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            logger.error(
                "stopped: %s, in '%s'. What was done is kept there. Make room, and %s goes on and "
                "assembles the results",
                *(os.strerror(error.errno), folder, again),
            )
            return FULL_STOP
        if began:
            logger.exception("stopped by a bug; what was done is kept in %s", folder)
        raise
    logger.info("%s", summary)
    tell_hint(job, summary)
    if failed:
        logger.warning("%d rows failed; %s says why", failed, folder / FAILURES)
        code = code or ROWS_FAILED
    if summary.lost:
        logger.error(
            "%d items are not done: new since the run began, or lost; %s does them",
            *(summary.lost, again),
        )
        code = code or ROWS_FAILED
    if code == INTERRUPTED:
        logger.warning(
            "interrupted; the %d items that were done are kept, and %s goes on",
            summary.earlier + summary.items,
            again,
        )
    return code


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds somebody else's files where a run would write.

    Raises:
        SettingsError: it does.
    """
    check_ours(folder, [*_FILES, PARTS, *FOLDERS])


def has_results(folder: Path) -> bool:
    """Whether some run committed results there."""
    return any((folder / PARTS).glob("part-*"))


def check_ours(folder: Path, names: Sequence[str]) -> None:
    """Refuse a folder that holds files of these names, or a config, that no run of ours wrote.

    Raises:
        SettingsError: it does.
    """
    there = [name for name in dict.fromkeys((CONFIG, *names)) if (folder / name).exists()]
    if there and not _is_run(folder):
        raise SettingsError(
            f"output '{folder}' holds {there}, which no run of gemma3n wrote and this one would "
            "overwrite. Choose another folder."
        )


def make_run_folder(job: PathJob, folder: Path) -> None:
    """Write the job's settings to its run folder, which is emptied first if it is to begin anew."""
    if job.fresh:
        clear_run(folder)
    (folder / PARTS).mkdir(parents=True, exist_ok=True)
    write_config(job, job.job, folder)


def write_config(job: SourceJob, name: str, folder: Path) -> None:
    """Write the job's settings to its folder, which shows that it is ours."""
    with replacing(folder / CONFIG) as file:
        file.write(f"{_OURS} {name}: `--from` this file repeats it\n".encode())
        file.write(to_yaml(anywhere(job)).encode())


def absolute(model: ModelSettings) -> ModelSettings:
    """The same checkpoint from any working directory; one on the hub at the commit it is now."""
    return replace(model, path=lasting(model.path))


def anywhere(job: Job) -> Job:
    """The job with absolute paths: it means the same in another working directory."""
    return replace(
        job,
        output=job.output and str(Path(job.output).absolute()),
        model=absolute(job.model),
        adapter=job.adapter and str(Path(job.adapter).absolute()),
        ple=job.ple.anywhere(),
        source=replace(job.source, path=[absolute_source(p) for p in job.source.path]),
    )


def clear_run(folder: Path) -> None:
    """Delete what a run wrote, and the folder itself if that was all it held."""
    clear_files(folder)
    shutil.rmtree(folder / WORK, ignore_errors=True)
    for part in (folder / PARTS).glob("*part-*"):  # half-written ones too
        part.unlink()
    for name in _FILES:
        (folder / name).unlink(missing_ok=True)
    for inner in (folder / PARTS, folder):
        if inner.is_dir() and not any(inner.iterdir()):
            inner.rmdir()


def _is_run(folder: Path) -> bool:
    config = folder / CONFIG
    return config.is_file() and config.read_bytes().startswith(_OURS.encode())


def new_folder(job: str) -> Path:
    """A run folder that does not exist yet, named after the job and the time."""
    base = Path("outputs") / job / datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    others = (base.with_name(f"{base.name}-{number}") for number in count(2))
    return base if not base.exists() else next(path for path in others if not path.exists())


class _ToFile(logging.FileHandler):
    """A log that goes without the lines that the disk has no room for: the run says so itself."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the library's name
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # lines that were held back for want of room
            super().close()


class _ToStderr(logging.Handler):
    """Writes to what `sys.stderr` is at that moment: the live line puts itself in between."""

    def emit(self, record: logging.LogRecord) -> None:
        # A terminal has the live line for progress.
        is_note = record.levelno >= logging.WARNING or record.name in _NOTES
        if is_note or not sys.stderr.isatty():
            sys.stderr.write(f"{self.format(record)}\n")


@contextmanager
def _logging() -> Iterator[MemoryHandler]:
    """Everything that our packages log goes to stderr and to the handler that is yielded.

    That one holds it until it has a target: there is no run.log before there is a run.
    """
    held, to_stderr = MemoryHandler(capacity=1), _formatted(_ToStderr())
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in _PACKAGES]
    levels = [(package, package.level) for package in ours]
    for handler in (held, to_stderr):
        root.addHandler(handler)
    for package in ours:
        package.setLevel(logging.INFO)
    try:
        yield held
    finally:
        to_file = held.target
        for handler in (held, to_stderr):
            root.removeHandler(handler)
            handler.close()
        if to_file is not None:
            to_file.close()
        for package, level in levels:
            package.setLevel(level)


def _formatted(handler: logging.Handler) -> logging.Handler:
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
