"""Who runs the path: one contract, two that keep it; none is imported before it is asked for."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from pipelines.finished import Finished
from pipelines.progress import Summary
from pipelines.settings import ExecutorKind, ExecutorSettings, PathJob
from stages.model import Load


class Executor(Protocol):
    """Runs the path. Both give the same rows."""

    def run(
        self,
        job: PathJob,
        load: Load,
        folder: Path,
        summary: Summary,
        begin: Callable[[], None],
        finished: Finished,
    ) -> None:
        """Send every item of the source that is not finished along the path.

        Args:
            job: what to run.
            load: the model.
            folder: of the run; `write` commits each batch to it.
            summary: is kept up to date, so that it holds when the run is interrupted too.
            begin: is called when all is ready, before any row.
            finished: what earlier runs did.
        """


def executor_of(settings: ExecutorSettings) -> Executor:
    """The one that is asked for."""
    match settings.kind:
        case ExecutorKind.in_process:
            from pipelines.in_process import InProcess

            return InProcess(settings)
        case ExecutorKind.ray:
            from pipelines.ray_data import RayData

            return RayData(settings)
