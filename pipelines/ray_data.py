"""The path as pools of Ray actors, on this machine or a cluster: Ray Data runs them.

It brings streaming, back-pressure, spilling, placement, restarts and autoscaling. What it lacks for
this job is in `PoolWorker`: rows that fail without their batch, rows that end their process, rows
that hang.
"""

import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gemma3n.errors import SettingsError
from pipelines.boundary import Boundary
from pipelines.finished import Finished
from pipelines.pool_worker import DONE, PoolWorker, boundary_of, worked
from pipelines.pools import WORK, Post, posts
from pipelines.progress import Summary, count_items, live_line, log_failures
from pipelines.settings import ExecutorSettings, PathJob
from stages.model import Load
from stages.source import STDIN, SourceSettings, list_items
from stages.stdin_list import spooled

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

_LOG_S = 5.0  # between two lines of progress


class RayData:
    """Runs the path in pools of actors."""

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
        """Send every item of the source that is not finished along the path; see `Executor`."""
        start = time.perf_counter()
        pools = list(posts(job, load, folder.absolute()))
        items = finished.left(list_items(job.source, summary.skipped))
        if next(items, None) is None:
            begin()
            summary.earlier = finished.items
            return
        with live_line(summary) as show, summary.timing("start"), _cluster(self.settings):
            begin()
            shutil.rmtree(folder / WORK, ignore_errors=True)
            for post in pools:
                post.work.mkdir(parents=True)
            count_items(job.source, summary)
            show()
            self._go(pools, finished, summary, start, show)
        for _ in items:  # what was moved in the source is known when all of it was listed
            pass
        summary.earlier = finished.items
        shutil.rmtree(folder / WORK, ignore_errors=True)

    def _go(
        self,
        pools: list[Post],
        finished: Finished,
        summary: Summary,
        start: float,
        show: Callable[[], None],
    ) -> None:
        source = pools[0].job.source
        if STDIN in source.path:
            source = replace(source, stdin=spooled())
        listed = partial(
            _listed,
            source,
            boundary_of(pools[0]),
            self.settings.items_a_task,
            finished.parts,
            finished.retry_failed,
        )
        boundary, logged = boundary_of(pools[-1]), 0.0
        results = _dataset(listed, pools, self.settings.items_a_task)
        for table in results.iter_batches(
            batch_size=None, batch_format="pyarrow", prefetch_batches=0
        ):
            rows = boundary.to_rows(table)
            summary.count(rows)
            summary.seconds = time.perf_counter() - start
            log_failures(rows)
            if time.perf_counter() - logged > _LOG_S:
                logged = time.perf_counter()
                logger.info("%s", summary.progress())
            show()
        for post in pools:
            processes, did = worked(post)
            summary.pools[post.pool] = {"processes": processes, **asdict(did)}
            for name, seconds in did.stage_seconds.items():
                summary.stage_seconds[name] = summary.stage_seconds.get(name, 0.0) + seconds


def _dataset(
    listed: Callable[[], Iterator[pa.Table]], pools: list[Post], at_once: int
) -> "Dataset":
    """The whole path, lazily: nothing runs before its rows are asked for."""
    import ray
    from ray.data import ActorPoolStrategy, DataContext, read_datasource

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its own log of what it does is INFO
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    # The list on stdin is in a file of this machine.
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    data = read_datasource(
        _listing(listed),
        override_num_blocks=1,
        num_cpus=0,
        label_selector=here,
    ).repartition(target_num_rows_per_block=at_once)
    for post in pools:
        pool = post.settings
        more: dict[str, Any] = {
            "num_gpus": pool.num_gpus,
            "memory": pool.memory,
            "resources": pool.resources,
            "label_selector": pool.labels,
        }
        data = data.map_batches(
            PoolWorker,
            fn_constructor_args=(post,),
            batch_size=pool.batch,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ActorPoolStrategy(min_size=pool.min, max_size=pool.max),
            num_cpus=pool.num_cpus,
            **{name: value for name, value in more.items() if value},
        )
    return data


def _listing(listed: Callable[[], Iterator[pa.Table]]) -> Any:
    """One task that lists the source."""
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    class Listing(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            nothing_known = BlockMetadata(
                num_rows=None, size_bytes=None, input_files=None, exec_stats=None
            )
            return [ReadTask(listed, nothing_known)]

    return Listing()  # type: ignore[no-untyped-call]


def _listed(
    source: SourceSettings,
    boundary: Boundary,
    at_once: int,
    parts: Sequence[Path],
    retry_failed: bool,
) -> Iterator[pa.Table]:
    """The items that are not finished: the same whenever it is called, whatever was done since.

    Args:
        source: to list.
        boundary: of the rows.
        at_once: items a table.
        parts: results of earlier runs.
        retry_failed: whether rows that failed are not finished.
    """
    with closing(Finished(parts, retry_failed)) as finished:
        left = finished.left(list_items(source))
        while some := list(islice(left, at_once)):
            rows: list[Any] = [{**item.row, DONE: sorted(item.segments)} for item in some]
            yield boundary.to_arrow(rows)


@contextmanager
def _cluster(settings: ExecutorSettings) -> Iterator[None]:
    """A Ray cluster: the caller's, a running one, or one of our own for as long as the block."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing leaves the machine
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        if settings.address is None:
            # One core more than there are: Ray Data's own short tasks ask for a whole one.
            cores = (os.cpu_count() or 1) + 1
            ray.init("local", num_cpus=cores, include_dashboard=False, logging_level=logging.ERROR)
        else:
            ray.init(settings.address, logging_level=logging.ERROR)
    except (ConnectionError, ValueError) as error:
        raise SettingsError(
            f"executor.address={settings.address}: {error}. Give the address of a Ray cluster that "
            "runs, as `ray status` shows it, or leave it out to start one here."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()
