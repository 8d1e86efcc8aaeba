"""The path in one process, on one device: threads read ahead of the model."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from itertools import chain, islice
from pathlib import Path
from typing import TypeVar

from pipelines.finished import Finished, Left, not_yet
from pipelines.path import build_stage
from pipelines.progress import Summary, count_items, live_line, log_failures
from pipelines.read_ahead import read_ahead
from pipelines.settings import ExecutorSettings, PathJob
from pipelines.step import expand_step, run_step
from stages.model import Load, shared_model
from stages.row import Row, Stage
from stages.source import list_items

logger = logging.getLogger(__name__)

T = TypeVar("T")

_NEED_MODEL = ("encode", "fuse", "decode", "write")  # the first of these ends what runs ahead
_LOG_S = 5.0  # between two lines of progress


class InProcess:
    """Runs the whole path here."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self.settings = settings

    def run(
        self,
        job: PathJob,
        load: Load,
        folder: Path,
        summary: Summary,
        begin: Callable[[], None],
        finished: Finished,
    ) -> None:
        """See `Executor`."""
        start = time.perf_counter()
        batch = self.settings.batch
        with ExitStack() as opened:
            show = opened.enter_context(live_line(summary))
            items = finished.left(list_items(job.source, summary.skipped))
            first = next(items, None)
            stages: dict[str, Stage] = {}
            if first is not None:
                with summary.timing("load"):
                    _load_model(job, load, first.row)
                    for name in job.path:
                        stages[name] = build_stage(name, job, load, folder)
                        opened.callback(stages[name].close)
            begin()
            summary.earlier = finished.items
            if first is None:
                return
            count_items(job.source, summary)
            show()
            apart = next(n for n, name in enumerate(job.path) if name in _NEED_MODEL)

            def run_stages(names: list[str], rows: list[Row]) -> list[Row]:
                for name in names:
                    with summary.timing(name):
                        rows = run_step(stages[name], name, rows)
                return rows

            def read(item: Left) -> Iterator[Row]:
                made = expand_step(stages["read"], "read", item.row)
                for row in not_yet(summary.timed("read", made), item.segments):
                    yield from run_stages(job.path[1:apart], [row])

            ahead = max(batch, 2 * self.settings.readers)
            rows = read_ahead(
                chain([first], items), read, self.settings.readers, ahead, summary.waited
            )
            logged = 0.0
            with closing(rows):
                for some in _batches(rows, batch):
                    done = run_stages(job.path[apart:], some)
                    summary.count(done)
                    summary.earlier = finished.items
                    summary.seconds = time.perf_counter() - start
                    log_failures(done)
                    if time.perf_counter() - logged > _LOG_S:
                        logged = time.perf_counter()
                        logger.info("%s", summary.progress())
                    show()
            summary.earlier = finished.items


def _load_model(job: PathJob, load: Load, first: Row) -> None:
    """Load what the first item needs; a tower that comes later in the source waits for its turn."""
    if not {"encode", "fuse"} & set(job.path):
        return
    model = shared_model(load)
    if "fuse" in job.path:
        _ = model.tokenizer
    if "encode" in job.path:
        _ = first["audio_paths"] and model.audio
        _ = first["image_paths"] and model.vision


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch
