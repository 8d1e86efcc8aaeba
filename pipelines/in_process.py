"""The path in one process, on one device: threads read ahead of the model."""

import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from gemma3n.errors import SettingsError
from pipelines.finished import Finished, Left, not_yet
from pipelines.path import MODEL_STAGES, build_stage
from pipelines.progress import Summary, follow, live_line
from pipelines.read_ahead import read_ahead
from pipelines.settings import ExecutorSettings, PathJob
from pipelines.step import expand_step, run_steps, through
from stages.model import Load, shared_model
from stages.row import Row, Stage
from stages.source import SourceSettings, list_items

if TYPE_CHECKING:
    from gemma3n.model import Gemma3n

logger = logging.getLogger(__name__)


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
        batch, times = self.settings.batch, summary.stage_seconds
        with ExitStack() as opened:
            show = opened.enter_context(live_line(summary))
            tell = follow(summary, show)
            items = finished.left(list_items(job.source, summary.skipped))
            first = next(items, None)
            stages: dict[str, Stage] = {}
            if first is not None:
                with times.timing("load"):
                    model = _load_model(job, load, first.row)
                    for name in job.path:
                        stages[name] = build_stage(name, job, load, folder)
                        opened.callback(_end, stages[name], name, summary)
                if model is not None:
                    opened.callback(_tell_parts, model, summary)
                    if "decode" in job.path:
                        opened.callback(_ple_counter(model, summary))
            begin()
            summary.earlier = finished.items
            if first is None:
                return
            Thread(target=_count, args=(job.source, summary), daemon=True).start()
            show()
            apart = next(n for n, name in enumerate(job.path) if name in (*MODEL_STAGES, "write"))

            def read(item: Left) -> Iterator[Row]:
                made = expand_step(stages["read"], "read", item.row)
                for row in times.timed("read", not_yet(made, item.segments)):
                    yield from run_steps(stages, job.path[1:apart], [row], times)

            ahead = max(batch, 2 * self.settings.readers)
            rows = read_ahead(
                chain([first], items), read, self.settings.readers, ahead, summary.waited
            )
            with closing(rows):
                for done in through(stages, job.path[apart:], rows, batch, times):
                    summary.count(done)
                    summary.earlier = finished.items
                    tell(done)
            summary.earlier = finished.items


def _tell_parts(model: "Gemma3n", summary: Summary) -> None:
    summary.parts = {part: asdict(loaded) for part, loaded in model.took.items()}


def _end(stage: Stage, name: str, summary: Summary) -> None:
    stage.close()
    summary.add_counts(name, stage.counts())


def _load_model(job: PathJob, load: Load, first: Row) -> "Gemma3n | None":
    """Load what the first item needs; a tower that comes later in the source waits for its turn."""
    if not {"encode", "fuse"} & set(job.path):
        return None
    model = shared_model(load)
    if "fuse" in job.path:
        _ = model.tokenizer
    if "encode" in job.path:
        _ = first["audio_paths"] and model.audio
        _ = first["image_paths"] and model.vision
    return model


def _ple_counter(model: "Gemma3n", summary: Summary) -> Callable[[], None]:
    """What adds all that the PLE table is asked from now on; other runs may have asked before."""
    table = model.text.table
    before = table.traffic.copy()

    def add() -> None:
        from gemma3n.tables import is_cached

        summary.add_ple(**asdict(table.traffic.since(before)), cached=is_cached(table))

    return add


def _count(source: SourceSettings, summary: Summary) -> None:
    """Go through the listing once more, ahead of the run: then it is known when that will end."""
    try:
        summary.total = sum(1 for _ in list_items(source))
    except (SettingsError, OSError):
        logger.debug("the source changed while it was counted", exc_info=True)
