"""The path in one process, on one device: reading runs one batch ahead of the model."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from pipelines.path import build_stage
from pipelines.progress import Summary, live_line
from pipelines.settings import ExecutorSettings, PathJob
from pipelines.step import run_step
from stages.model import Load, shared_model
from stages.row import Row, Stage
from stages.source import list_items

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NEED_MODEL = ("encode", "fuse", "decode", "write")  # the first of these ends what runs ahead


class InProcess:
    """Runs the whole path here."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self.batch = settings.batch

    def run(
        self, job: PathJob, load: Load, folder: Path, summary: Summary, begin: Callable[[], None]
    ) -> None:
        """Send every item of the source along the path.

        Args:
            job: what to run.
            load: the model.
            folder: of the run; `write` commits each batch to it.
            summary: is kept up to date, so that it holds when the run is interrupted too.
            begin: is called when all is loaded, before any row.
        """
        start = time.perf_counter()
        with ExitStack() as opened:
            show = opened.enter_context(live_line(summary))
            stages: dict[str, Stage] = {}
            with summary.timing("load"):
                _load_model(job, load)
                for name in job.path:
                    stages[name] = build_stage(name, job, load, folder)
                    opened.callback(stages[name].close)
            begin()
            show()
            first = next(n for n, name in enumerate(job.path) if name in _NEED_MODEL)

            def run_stages(names: list[str], rows: list[Row]) -> list[Row]:
                for name in names:
                    with summary.timing(name):
                        rows = run_step(stages[name], name, rows)
                return rows

            listed = _batches(list_items(job.source, summary.skipped), self.batch)
            read = _one_ahead(lambda rows: run_stages(job.path[:first], rows), listed)
            # An item may have become several rows.
            for rows in _batches(chain.from_iterable(read), self.batch):
                done = run_stages(job.path[first:], rows)
                summary.count(done)
                summary.seconds = time.perf_counter() - start
                _log(done, summary)
                show()


def _load_model(job: PathJob, load: Load) -> None:
    """Load what the first item needs; a tower that comes later in the source waits for its turn."""
    if not {"encode", "fuse"} & set(job.path):
        return
    model, first = shared_model(load), next(list_items(job.source))
    if "fuse" in job.path:
        _ = model.tokenizer
    if "encode" in job.path:
        _ = first["audio_paths"] and model.audio
        _ = first["image_paths"] and model.vision


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def _one_ahead(
    work: Callable[[list[Row]], list[Row]], batches: Iterable[list[Row]]
) -> Iterator[list[Row]]:
    """`map`, with the next result in the making while one is used."""
    with ThreadPoolExecutor(1, "read") as thread:
        ready: Future[list[Row]] | None = None
        for batch in batches:
            coming = thread.submit(work, batch)
            if ready is not None:
                yield ready.result()
            ready = coming
        if ready is not None:
            yield ready.result()


def _log(rows: list[Row], summary: Summary) -> None:
    for row in rows:
        if error := row.get("error"):
            logger.warning("%r failed in %s: %s", row["item"], error["stage"], error["message"])
    logger.info("%d rows done; in all %s", len(rows), str(summary))
