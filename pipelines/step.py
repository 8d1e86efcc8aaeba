"""One stage over one batch: rows that fail are marked and stepped over. Both executors use it."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

from gemma3n.errors import InputError
from stages.row import HEAVY, Row, Stage

T = TypeVar("T")


class StageTimes(dict[str, float]):
    """Seconds that each stage took, all threads together, and the rows that came out of it."""

    def __init__(self, seconds: Iterable[tuple[str, float]] = ()) -> None:
        super().__init__(seconds)
        self.rows: dict[str, int] = {}
        self._lock = Lock()

    def count(self, rows: Mapping[str, int]) -> None:
        """Add to the rows that came out."""
        with self._lock:
            for name, more in rows.items():
                self.rows[name] = self.rows.get(name, 0) + more

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add to what is there."""
        with self._lock:
            for name, more in seconds.items():
                self[name] = self.get(name, 0.0) + more

    @contextmanager
    def timing(self, name: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add({name: time.perf_counter() - start})

    def timed(self, name: str, rows: Iterable[Row]) -> Iterator[Row]:
        """The same rows; the time that making them takes is added."""
        rows = iter(rows)
        while True:
            with self.timing(name):
                row = next(rows, None)
            if row is None:
                return
            self.count({name: 1})
            yield row


def batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    """All of it, so many at a time."""
    rows = iter(rows)
    while batch := list(islice(rows, size)):
        yield batch


def through(
    stages: Mapping[str, Stage],
    names: Sequence[str],
    rows: Iterable[Row],
    batch: int,
    times: StageTimes,
    in_order: bool = False,
) -> Iterator[list[Row]]:
    """Send rows through stages, so many at a time; what one that `streams` has done goes on.

    Args:
        stages: by name.
        names: of those, in order.
        rows: any mix of good and failed rows; taken as there is room for them.
        batch: rows that a stage gets, or works on, at once.
        times: to add to.
        in_order: whether rows leave in the order in which they came.
    """
    streaming = next((n for n, name in enumerate(names) if stages[name].streams), None)
    before = names[:streaming]
    ready = (run_steps(stages, before, some, times) for some in batches(rows, batch))
    if streaming is None:
        yield from ready
        return
    name, step = names[streaming], _stream_in_order if in_order else stream_step
    done = step(stages[name], name, chain.from_iterable(ready), batch, times)
    yield from through(stages, names[streaming + 1 :], done, batch, times, in_order)


def run_steps(
    stages: Mapping[str, Stage], names: Sequence[str], rows: list[Row], times: StageTimes
) -> list[Row]:
    """Run some stages over a batch, one after another; see `run_step`."""
    for name in names:
        with times.timing(name):
            rows = run_step(stages[name], name, rows)
        times.count({name: len(rows)})
    return rows


def run_step(stage: Stage, name: str, rows: list[Row]) -> list[Row]:
    """Run a stage over a batch.

    Args:
        stage: sees copies of the rows, good ones only unless it `sees_errors`.
        name: of the stage, for the errors of rows that it cannot use.
        rows: any mix of good and failed rows.

    Returns:
        Rows in the same order; as many, unless the stage `expands`. A row for which the stage
        raised `InputError` carries it as `error`, and no heavy columns any more. Rows that failed
        before, or have their `text` already (of silence), are stepped over.
    """
    if stage.sees_errors:
        return _run(stage, name, rows)
    if stage.expands:
        return [made for row in rows for made in expand_step(stage, name, row)]
    results = _results(stage, name, [row for row in rows if not _is_over(row)])
    done: list[Row] = []
    for row in rows:
        done += [row] if _is_over(row) else next(results)
    return done


def stream_step(
    stage: Stage, name: str, rows: Iterable[Row], batch: int, times: StageTimes
) -> Iterator[Row]:
    """Run a stage that `streams`: a row that is done makes room for the next.

    Args:
        stage: sees copies of the good rows.
        name: of the stage, for errors and for the time that it takes.
        rows: any mix of good and failed rows; the time to make them is not the stage's.
        batch: rows worked on at once.
        times: to add to.

    Yields:
        The same rows in any order, as `run_step` returns them.
    """
    over: deque[Row] = deque()
    elsewhere = 0.0

    def good() -> Iterator[Row]:
        nonlocal elsewhere
        coming = iter(rows)
        while True:
            began = time.perf_counter()
            row = next(coming, None)
            elsewhere += time.perf_counter() - began
            if row is None:
                return
            if _is_over(row):
                over.append(row)
            else:
                yield row.copy()

    results = stage.stream(good(), batch)
    while True:
        began, elsewhere = time.perf_counter(), 0.0
        done = next(results, None)
        times.add({name: time.perf_counter() - began - elsewhere})
        while over:
            times.count({name: 1})
            yield over.popleft()
        if done is None:
            return
        row, error = done
        times.count({name: 1})
        yield row if error is None else _failed(row, name, error)


def _stream_in_order(
    stage: Stage, name: str, rows: Iterable[Row], batch: int, times: StageTimes
) -> Iterator[Row]:
    """What `stream_step` yields, in order: a row that is done waits for those before it."""
    came: deque[tuple[str, int]] = deque()
    waiting: dict[tuple[str, int], list[Row]] = {}

    def noted() -> Iterator[Row]:
        for row in rows:
            came.append((row["item"], row["segment"]))
            yield row

    for done in stream_step(stage, name, noted(), batch, times):
        waiting.setdefault((done["item"], done["segment"]), []).append(done)
        while came and came[0] in waiting:
            some = waiting[key := came.popleft()]
            yield some.pop(0)
            if not some:
                del waiting[key]


def _is_over(row: Row) -> bool:
    return bool(row.get("error")) or "text" in row


def expand_step(stage: Stage, name: str, row: Row) -> Iterator[Row]:
    """What becomes of one row in a stage that `expands`, as it comes.

    Args:
        stage: sees a copy of the row.
        name: of the stage, for the error of a row that it cannot use.
        row: good or failed; a failed one is passed on.
    """
    if row.get("error"):
        yield row
        return
    segment = 0
    try:
        for made in stage.expand(row.copy()):
            yield made
            segment = made["segment"] + 1
    except InputError as error:
        yield _failed(row, name, error) | Row(segment=segment, last=True)


def _results(stage: Stage, name: str, rows: list[Row]) -> Iterator[list[Row]]:
    """What becomes of each row."""
    if len(rows) > 1:
        try:
            done = _run(stage, name, rows)
        except InputError:
            pass  # somebody's; alone, each row answers for itself
        else:
            yield from ([row] for row in done)
            return
    for row in rows:
        try:
            yield _run(stage, name, [row])
        except InputError as error:
            yield [_failed(row, name, error)]


def _run(stage: Stage, name: str, rows: list[Row]) -> list[Row]:
    done = stage([row.copy() for row in rows])
    if len(done) != len(rows):
        raise RuntimeError(
            f"stage '{name}' got {len(rows)} rows and returned {len(done)}. "
            "A stage returns every row it gets, in order, unless it says `expands`."
        )
    return done


def _failed(row: Row, name: str, error: InputError) -> Row:
    light = row.copy()
    for column in HEAVY:
        light.pop(column, None)  # type: ignore[misc]
    light["error"] = {"stage": name, "message": str(error)}
    return light
