"""What the pools of a run do as it goes on: who dies of what, where rows wait, how busy all are.

Read from the notes of their processes; Ray is asked only why a process ended.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from itertools import pairwise
from threading import Event, Thread
from typing import Any

from pipelines.pool_notes import Note, Worked, notes, together
from pipelines.pools import Post
from pipelines.progress import Summary
from pipelines.settings import PlePlacement
from pipelines.step import StageTimes

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_SHARE = 0.05  # of the time, at the most, that goes to reading notes: where they are many, or slow
_CLOSING_S = 5.0  # that processes have to end in good order
_FRAMES = 3  # of the stack of one that crashed
_WORKER = "pool_worker.py"  # is on the stack of the thread that matters


class Watch:
    """Of all pools of a run.

    Args:
        pools: in the order of the path.
        ended: says which processes ended, by Ray's ids of them or of their nodes, and why.
    """

    def __init__(self, pools: list[Post], ended: Callable[[], Mapping[str, str]]) -> None:
        self._pools, self._ended, self._began = pools, ended, time.time()
        self._told: set[str] = set()  # names of notes whose processes have ended
        self.died: Counter[str] = Counter()  # by pool
        self.stages = StageTimes()  # what those of all pools did so far
        self._looks, self._waiting, self.most = 0, Counter[str](), Counter[str]()

    def look(self) -> None:
        """Log who has died since the last time, and count the rows that wait."""
        found = {post.pool: list(notes(post.work)) for post in self._pools}
        ended = self._ended()
        for pool, some in found.items():
            for note in some:
                why = ended.get(note.place.worker) or ended.get(note.place.node)
                if why and not note.over and note.name not in self._told:
                    self._told.add(note.name)
                    self.died[pool] += 1
                    logger.warning("%s", _death(pool, note, why))
        self._looks += 1
        did = {pool: together(some) for pool, some in found.items()}
        self.stages = _stages(did)
        out = {pool: one.rows for pool, one in did.items()}
        for before, pool in pairwise(out):
            # What a dead process had handed on is handed on again: then it is fewer than none.
            waiting = max(0, out[before] - out[pool])
            self._waiting[pool] += waiting
            self.most[pool] = max(self.most[pool], waiting)

    def wait_closed(self) -> None:
        """Give the processes that live time to finish what their stages left open."""
        end = time.monotonic() + _CLOSING_S
        while time.monotonic() < end:
            some = [note for post in self._pools for note in notes(post.work)]
            if all(note.over or note.name in self._told for note in some):
                return
            time.sleep(0.05)

    def sum_up(self, summary: Summary) -> None:
        """What the pools did, for the summary of the run."""
        did: dict[str, Worked] = {}
        now, summary.elsewhere = time.time(), None
        for post in self._pools:
            some = list(notes(post.work))
            did[post.pool] = one = together(some)
            summary.pools[post.pool] = {
                "processes": len(some),
                "died": self.died[post.pool],
                "nodes": dict(Counter(note.place.node[:8] or note.place.host for note in some)),
                "ready_seconds": min((note.times[0] for note in some), default=now) - self._began,
                "gpus": dict(Counter(note.place.gpus or "none" for note in some)),
                "busy": _ratio(one.seconds + one.in_seconds + one.out_seconds, one.alive_seconds),
                "rows_per_second": _ratio(one.rows, _span(some)),
                **asdict(one),
            }
            summary.stage_seconds.add(one.stage_seconds)
            if one.ple_rows:
                ple = post.job.ple
                apart = ple.placement is PlePlacement.store or post.settings.num_gpus > 0
                moved = (one.ple_rows, one.ple_moved, one.ple_bytes, one.ple_seconds)
                summary.add_ple(*moved, cached=apart and ple.cache_rows > 0)
            summary.stage_seconds.count(one.stage_rows)
            for stage, counts in one.counts.items():
                summary.add_counts(stage, counts)
        for before, pool in pairwise(did):
            given, got = did[before], did[pool]
            seconds = _ratio(given.out_seconds, given.rows) + _ratio(got.in_seconds, got.rows_in)
            summary.boundaries[f"{before} to {pool}"] = {
                "rows": got.rows_in,
                "bytes_per_row": _ratio(given.bytes_out, given.rows),
                "microseconds_per_row": 1e6 * seconds,  # to Arrow and back
                "rows_waiting": self._waiting[pool] / max(1, self._looks),  # or at work behind it
                "most_rows_waiting": self.most[pool],
            }


@contextmanager
def watching(pools: list[Post], summary: Summary) -> Iterator[Watch]:
    """Look again and again as long as the block runs; then sum up."""
    watch, is_over = Watch(pools, ended_processes), Event()

    def look() -> None:
        try:
            watch.look()
        except Exception:  # a cluster that is gone, say: what is told of a run never ends it
            logger.debug("the pools could not be looked at", exc_info=True)

    def look_on() -> None:
        pause = _EVERY_S
        while not is_over.wait(pause):
            start = time.perf_counter()
            look()
            pause = max(_EVERY_S, (time.perf_counter() - start) / _SHARE)

    thread = Thread(target=look_on, name="pool watch", daemon=True)
    thread.start()
    summary.elsewhere = lambda: watch.stages
    try:
        yield watch
    finally:
        is_over.set()
        thread.join()
        look()
        watch.sum_up(summary)


def _stages(did: Mapping[str, Worked]) -> StageTimes:
    """Seconds and rows of the stages of all pools."""
    found = StageTimes()
    for one in did.values():
        found.add(one.stage_seconds)
        found.count(one.stage_rows)
    return found


def ended_processes() -> dict[str, str]:
    """Ray's ids of processes that ended without being asked to, and of dead nodes, and why."""
    import ray

    found = _unasked()
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if not node["Alive"]:
            found[node["NodeID"]] = "its node is gone"
    return found


def _unasked() -> dict[str, str]:
    """Processes that ended unasked, and Ray's words about it.

    Nobody promises that they are there: of a version of Ray that keeps them elsewhere there is
    nothing, and the log says less.
    """
    try:
        from ray._private.state import state
        from ray.core import generated

        table: Any = generated.gcs_pb2.WorkerTableData  # type: ignore[attr-defined]
        kinds: Any = generated.common_pb2.WorkerExitType  # type: ignore[attr-defined]
        asked = [kinds.Value(f"INTENDED_{whose}_EXIT") for whose in ("SYSTEM", "USER")]
        ended = [table.FromString(one) for one in _accessor(state).get_worker_table()]
        return {
            one.worker_address.worker_id.hex(): one.exit_detail
            for one in ended
            if not one.is_alive and one.exit_type not in asked
        }
    except (ImportError, AttributeError, ValueError):
        return {}


def _accessor(state: Any) -> Any:
    return state._connect_and_get_accessor()


def _death(pool: str, note: Note, why: str) -> str:
    """One line of what is known of it."""
    sentences = why.partition(" Some common causes")[0].strip().removesuffix(".")
    where = f"process {note.place.pid} of pool {pool} on {note.place.host} ended"
    crash = f" ({note.stack.splitlines()[0].strip(' :!')})" if note.stack else ""
    frames = [line.strip().removeprefix("File ") for line in _stack(note.stack)]
    at = f"; it was at {', from '.join(frames[:_FRAMES])}" if frames else ""
    return f"{where}{crash} while it {note.doing}: {sentences}{at}"


def _stack(dump: str) -> list[str]:
    """The frames of the thread that ran a stage, the latest first; none if none did."""
    for thread in dump.split("\n\n"):
        if _WORKER in thread:
            return [line for line in thread.splitlines() if line.startswith("  File")]
    return []


def _ratio(some: float, to: float) -> float:
    return some / to if to else 0.0


def _span(some: list[Note]) -> float:
    """Seconds from when the first was ready to the last note of any."""
    if not some:
        return 0.0
    return max(note.times[1] for note in some) - min(note.times[0] for note in some)
