"""Items -> rows, made by several threads ahead of the model, in the order of the items."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, Full, Queue, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from stages.row import Row

Item = TypeVar("Item")

_ROWS_AHEAD = 4  # of one item: a long recording waits for the model, and does not fill memory
_LOOK_S = 0.1  # between two looks at whether the run is over
_STOP_S = 2.0  # that threads have to end; one that is stuck in a file is left to the system
_END = object()


def read_ahead(
    items: Iterable[Item],
    work: Callable[[Item], Iterable[Row]],
    threads: int,
    ahead: int,
    took: Callable[[float, bool], None],
) -> Generator[Row]:
    """Make rows of items, several items at a time.

    Args:
        items: is gone through as far as needed, in the thread that asks for rows.
        work: makes the rows of one item, in one of the threads.
        threads: that work.
        ahead: items that are begun or waiting, the one asked for included.
        took: is told of every row how long it was waited for, in seconds, and if it was there.

    Raises:
        Exception: what `work` raised, in the place of the row that it did not make.
    """
    window: deque[Queue[Any]] = deque()
    # First come, first served: the item that is asked for is always being worked on.
    waiting: SimpleQueue[tuple[Item, Queue[Any]] | None] = SimpleQueue()
    over = Event()

    def serve() -> None:
        while (job := waiting.get()) and not over.is_set():
            _make(job[0], work, job[1], over)

    # Daemons, unlike those of an executor: the process does not wait for one that is stuck.
    readers = [Thread(target=serve, name=f"read_{n}", daemon=True) for n in range(threads)]
    for reader in readers:
        reader.start()
    try:
        for item in items:
            window.append(Queue(_ROWS_AHEAD))
            waiting.put((item, window[-1]))
            if len(window) >= ahead:
                yield from _rows(window.popleft(), took)
        while window:
            yield from _rows(window.popleft(), took)
    finally:
        over.set()
        for _ in readers:
            waiting.put(None)
        end = time.monotonic() + _STOP_S
        for reader in readers:
            reader.join(max(0.0, end - time.monotonic()))


def _make(
    item: Item, work: Callable[[Item], Iterable[Row]], rows: "Queue[Any]", over: Event
) -> None:
    try:
        for row in work(item):
            if not _put(row, rows, over):
                return
    except BaseException as error:  # a bug is raised where the row is asked for
        _put(error, rows, over)
    else:
        _put(_END, rows, over)


def _put(value: Any, rows: "Queue[Any]", over: Event) -> bool:
    """Whether there was room before the run was over."""
    while not over.is_set():
        try:
            rows.put(value, timeout=_LOOK_S)
        except Full:
            continue
        return True
    return False


def _rows(rows: "Queue[Any]", took: Callable[[float, bool], None]) -> Iterator[Row]:
    while True:
        start, there = time.perf_counter(), not rows.empty()
        value = _get(rows)
        if value is _END:
            return
        if isinstance(value, BaseException):
            raise value
        took(time.perf_counter() - start, there)
        yield value


def _get(rows: "Queue[Any]") -> Any:
    while True:
        try:
            return rows.get(timeout=_LOOK_S)  # without one, Ctrl-C would wait for a row on Windows
        except Empty:
            continue
