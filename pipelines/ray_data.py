"""The path as pools of Ray actors, on this machine or a cluster: Ray Data runs them.

It brings streaming, back-pressure, spilling, placement, restarts and autoscaling. What it lacks for
this job is in `PoolWorker`: rows that fail without their batch, rows that end their process, rows
that hang.
"""

import itertools
import logging
import math
import os
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from gemma3n.errors import SettingsError
from pipelines.boundary import Boundary
from pipelines.committed import part_files
from pipelines.fingerprint import settled_precision
from pipelines.finished import Finished, Left
from pipelines.mistakes import refused_elsewhere
from pipelines.pool_watch import watching
from pipelines.pool_worker import DONE, PoolWorker, boundary_of, not_shared
from pipelines.pools import WORK, Post, posts
from pipelines.progress import Summary, follow, live_line
from pipelines.ray_address import connect
from pipelines.ray_usage import send_nothing
from pipelines.settings import ExecutorSettings, PathJob, PlePlacement, PoolSettings
from pipelines.signals import signals_kept, signals_noticed
from pipelines.step import StageTimes
from stages.model import Load
from stages.row import Row
from stages.source import list_items

if TYPE_CHECKING:
    from ray.data import Dataset

logger = logging.getLogger(__name__)

_LISTED = "listed.arrow"  # the items that there are to do, a table a task
_LISTING = 2  # processes that read it
_TASKS, _DOUBLINGS = 1024, 4  # after so many tasks the next are twice as large; so many times
_BLOCK = 32 * 2**20  # bytes that a task hands on together, about: a recording of hours is more


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
        # What `auto` means is settled here, as it is in the run's fingerprint.
        load = replace(load, precision=settled_precision(load))
        pools = list(posts(job, load, folder.absolute()))
        items = finished.left(list_items(job.source, summary.skipped))
        first = next(items, None)
        if first is None:
            begin()
            summary.earlier = finished.items
            return
        times = summary.stage_seconds
        with ExitStack() as opened:
            show = opened.enter_context(live_line(summary))
            tell = follow(summary, show)
            # Once the processes are gone: until then they write there.
            opened.callback(shutil.rmtree, folder / WORK, ignore_errors=True)
            share = opened.enter_context(_cluster(self.settings, pools, times))
            begin()
            for post in pools:
                post.attempts.mkdir(parents=True)
            listed = pools[0].work.parent / _LISTED
            tasks = _tasks(itertools.chain([first], items), self.settings.items_a_task)
            with times.timing("list"):
                number, count = _note(listed, boundary_of(pools[0]), tasks)
            summary.earlier = finished.items
            summary.total = summary.earlier + count
            show()
            pools = [
                replace(post, threads=max(share, math.ceil(post.settings.num_cpus), 1))
                for post in pools
            ]
            with signals_noticed() as check, _plainly(), watching(pools, summary) as watch:
                held = _held_by_others(job)
                opened.enter_context(_stored(job, load))
                results = _dataset(listed, number, count, pools, held)
                came = _go(results, boundary_of(pools[0]), summary, tell, check)
                del results  # with it go the processes
                watch.wait_closed()
            if gone := count - came:
                raise RuntimeError(
                    f"{gone} of {count} items went in and did not come out. The same command does "
                    "them."
                )
        with closing(Finished(part_files(folder), retry_failed=False)) as after:
            summary.lost = sum(1 for _ in after.left(list_items(job.source)))


def _go(
    results: "Dataset",
    boundary: Boundary,
    summary: Summary,
    tell: Callable[[list[Row]], None],
    check: Callable[[], None],
) -> int:
    """Run it, and count what comes out; how many items that are, each once.

    `check` is called with each of what comes: see `signals_noticed`.
    """
    came = bytearray()  # by place in the source, whether an item is done: a byte an item
    for table in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        check()
        rows = boundary.to_rows(table)
        came.extend(bytes(max(0, max((row["place"] for row in rows), default=0) + 1 - len(came))))
        summary.count([row for row in rows if not came[row["place"]]])
        for row in rows:
            came[row["place"]] |= row["last"]
        tell(rows)
    return sum(came)


def _tasks(items: Iterator[Left], size: int) -> Iterator[list[Left]]:
    """Items that go through together: so many at first, and more where there are many.

    Ray Data keeps about 1 kB of statistics a task and pool for as long as the run, so that with
    tasks of one size the driver would grow with the source.
    """
    for number in itertools.count():
        most = size * 2 ** min(number // _TASKS, _DOUBLINGS)
        if not (task := list(itertools.islice(items, most))):
            return
        yield task


def _note(path: Path, boundary: Boundary, tasks: Iterable[list[Left]]) -> tuple[int, int]:
    """Write what there is to do, where all nodes read it; how many tasks, and items, there are."""
    written = items = 0
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, boundary.schema) as writer:
        for task in tasks:
            rows: list[Any] = [{**item.row, DONE: sorted(item.segments)} for item in task]
            writer.write_table(boundary.to_arrow(rows))
            written, items = written + 1, items + len(rows)
    return written, items


def _noted(path: Path, task: int) -> Iterator[pa.Table]:
    """The items of one task: the same whenever it is asked for."""
    if not path.exists():
        raise not_shared(path.parent)
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        yield pa.Table.from_batches([reader.get_batch(task)])


def _dataset(
    listed: Path, tasks: int, items: int, pools: list[Post], held: Mapping[str, float]
) -> "Dataset":
    """The whole path, lazily: nothing runs before its rows are asked for."""
    from ray.data import ActorPoolStrategy, DataContext, ExecutionResources, read_datasource

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its own log of what it does is INFO
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is to go in 2027; by then nodes have labels
        context.execution_options.exclude_resources = ExecutionResources(
            cpu=held.get("CPU", 0.0), gpu=held.get("GPU", 0.0), memory=held.get("memory", 0.0)
        )
    # They take no cores, so nothing else keeps Ray from starting a process for each of them.
    data = read_datasource(
        _source(listed, tasks), override_num_blocks=tasks, num_cpus=0, concurrency=_LISTING
    )
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
            batch_size=post.rows_a_call(items),
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ActorPoolStrategy(min_size=pool.min, max_size=pool.max),
            num_cpus=pool.num_cpus,
            **{name: value for name, value in more.items() if value},
        )
    return data


def _source(listed: Path, tasks: int) -> Any:
    from ray.data import Datasource
    from ray.data.block import BlockMetadata
    from ray.data.datasource import ReadTask

    unknown = BlockMetadata(num_rows=None, size_bytes=None, input_files=None, exec_stats=None)

    class Listed(Datasource):
        def estimate_inmemory_data_size(self) -> int | None:
            return None

        def get_read_tasks(self, *_: Any, **__: Any) -> list[ReadTask]:
            return [ReadTask(partial(_noted, listed, task), unknown) for task in range(tasks)]

    return Listed()  # type: ignore[no-untyped-call]


@contextmanager
def _plainly() -> Iterator[None]:
    """What a process of a pool raised, if it is for whoever ran the command or about its disk."""
    from ray.exceptions import RayError

    try:
        yield
    except RayError as error:
        for line in str(error).splitlines():
            if said := refused_elsewhere(line):
                raise SettingsError(said) from error
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno is not None:
                raise cause from error
            cause = getattr(cause, "cause", None) or cause.__cause__
        raise


@contextmanager
def _cluster(settings: ExecutorSettings, pools: list[Post], times: StageTimes) -> Iterator[int]:
    """A Ray cluster: the caller's, a running one, or one of our own for as long as the block.

    Yields:
        How many cores each process that uses the model may take.
    """
    send_nothing()
    import ray

    ours = not ray.is_initialized()
    try:
        with times.timing("start"):
            if ours:
                with signals_kept():
                    _start(settings, pools)
            _check_room(pools, is_fixed=ours and settings.address is None)
        computing = sum(post.settings.max for post in pools if post.computes)
        is_own = ours and settings.address is None
        yield (os.cpu_count() or 1) // max(1, computing) if is_own else 1
    finally:
        if ours:
            ray.shutdown()


@contextmanager
def _stored(job: PathJob, load: Load) -> Iterator[None]:
    """The shards of `ple=store`, if that is asked for: they stay as long as somebody holds them."""
    shards = []
    if job.ple.placement is PlePlacement.store:
        from pipelines.ple_store import Store

        store = Store.of(job, load.folder)
        shards = [store.shard(number) for number in range(store.shards)]
    yield
    del shards


def _held_by_others(job: PathJob) -> dict[str, float]:
    """What of the cluster is not for the pools: other jobs have it, or this one's PLE shards will.

    Ray Data takes the whole cluster for its own, and would ask for actors that have no room. Shards
    that another job made first count twice; that only makes pools grow less.
    """
    import ray

    there: Any = ray.cluster_resources()  # type: ignore[no-untyped-call]
    free: Any = ray.available_resources()  # type: ignore[no-untyped-call]
    held = {name: amount - free.get(name, 0.0) for name, amount in there.items()}
    if job.ple.placement is PlePlacement.store:
        pool = job.executor.pools.ple
        for name, amount in _amounts(pool).items():
            held[name] = held.get(name, 0.0) + job.ple.shards * amount
    return held


def _amounts(pool: PoolSettings) -> dict[str, float]:
    """What one process of a pool takes, by Ray's names."""
    own = {"CPU": pool.num_cpus, "GPU": pool.num_gpus, "memory": pool.memory}
    return {**own, **pool.resources}


def _start(settings: ExecutorSettings, pools: list[Post]) -> None:
    own: dict[str, Any] = {}
    if settings.address is None:
        # Cores are for placing only: a machine with fewer runs the pools as well, and slower.
        needed = sum(count * pool.num_cpus for count, pool in _wanted(pools))
        own = {"num_cpus": max(os.cpu_count() or 1, math.ceil(needed)), "include_dashboard": False}
    connect(settings.address, logging_level=logging.ERROR, **own)


def _wanted(pools: list[Post]) -> Iterator[tuple[int, PoolSettings]]:
    """How many actors of which kind there must be."""
    for post in pools:
        yield post.settings.min, post.settings
    job = pools[0].job
    if job.ple.placement is PlePlacement.store:
        yield job.ple.shards, job.executor.pools.ple


def _check_room(pools: list[Post], is_fixed: bool) -> None:
    """Say what the pools need that the cluster has not.

    Raises:
        SettingsError: and it never will, as it does not grow.
    """
    import ray

    there: Any = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes = [node["Labels"] for node in ray.nodes()]  # type: ignore[no-untyped-call]
    needed: dict[str, float] = {}
    lacking = []
    for count, pool in _wanted(pools):
        for name, amount in _amounts(pool).items():
            needed[name] = needed.get(name, 0.0) + count * amount
        if not any(pool.labels.items() <= labels.items() for labels in nodes):
            lacking.append(f"a pool needs a node with labels {pool.labels}, and there is none")
    for name, amount in needed.items():
        if amount > (has := there.get(name, 0.0)):
            lacking.append(
                f"the pools need {amount:g} {name} at the least, and the cluster has {has:g}"
            )
    for lack in lacking:
        if is_fixed:
            raise SettingsError(f"{lack}. Change executor.pools.*, or give it another cluster.")
        logger.warning("%s: they wait until it comes", lack)
