import threading
import time
from collections.abc import Iterator

import pytest

from pipelines.read_ahead import read_ahead
from stages.row import Row


def nothing(seconds: float, was_there: bool) -> None:
    """Whoever does not care."""


def segments(item: int) -> Iterator[Row]:
    for n in range(item):
        yield Row(item=str(item), segment=n)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("ahead", [1, 3, 50])
def test_rows_come_in_the_order_of_items_however_long_each_is(threads: int, ahead: int) -> None:
    items = [3, 0, 20, 1, 7, 7, 2]
    rows = list(read_ahead(items, segments, threads, ahead, nothing))
    assert [(row["item"], row["segment"]) for row in rows] == [
        (str(item), n) for item in items for n in range(item)
    ]


def test_what_is_ahead_is_bounded_in_items_and_in_rows() -> None:
    made: list[int] = []

    def endless(item: int) -> Iterator[Row]:
        for n in range(1000):
            made.append(item)
            yield Row(item=str(item), segment=n)

    listed: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            listed.append(item)
            yield item

    rows = read_ahead(items(), endless, 2, 3, nothing)
    next(rows)
    time.sleep(0.3)
    assert len(listed) == 3
    assert len(made) < 20
    rows.close()


def test_a_bug_is_raised_after_the_rows_before_it_and_ends_all_threads() -> None:
    def breaks(item: int) -> Iterator[Row]:
        yield Row(item=str(item))
        if item == 1:
            raise ZeroDivisionError

    rows = read_ahead(range(100), breaks, 2, 4, nothing)
    assert [next(rows)["item"], next(rows)["item"]] == ["0", "1"]
    with pytest.raises(ZeroDivisionError):
        next(rows)
    assert not [t for t in threading.enumerate() if t.name.startswith("read")]


def test_who_stops_asking_waits_for_nobody() -> None:
    rows = read_ahead([1000, 1000], segments, 2, 2, nothing)
    next(rows)
    start = time.perf_counter()
    rows.close()
    assert time.perf_counter() - start < 5  # far below what all rows would wait for


def test_a_reader_that_is_stuck_does_not_hold_up_the_end() -> None:
    stuck = threading.Event()

    def waits(item: int) -> Iterator[Row]:
        yield Row(item=str(item))
        stuck.wait(60)

    rows = read_ahead([1, 2], waits, 2, 2, nothing)
    next(rows)
    start = time.perf_counter()
    rows.close()
    assert time.perf_counter() - start < 5  # what a run has to stop in
    # The process need not wait for them either when it ends.
    assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("read"))
    stuck.set()


def test_it_is_told_what_was_waited_for() -> None:
    told: list[tuple[float, bool]] = []

    def slow(item: int) -> Iterator[Row]:
        time.sleep(0.1)
        yield Row(item=str(item))

    list(read_ahead([1], slow, 1, 1, lambda *what: told.append(what)))
    ((seconds, was_there),) = told
    assert seconds > 0.05
    assert not was_there
