"""What earlier runs in a folder have done -> what is left of a listing."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from pipelines.committed import Committed, Moved
from stages.row import Row
from stages.scratch import scratch_database


class Left(NamedTuple):
    """An item that is not finished."""

    row: Row
    segments: frozenset[int]  # those of it that are


class Finished:
    """Items and segments that need not be done again.

    A segment counts if it was made of what the item is now: one of another `stamp` does not.
    """

    def __init__(self, parts: Sequence[Path], retry_failed: bool = True) -> None:
        """Index what is there.

        Args:
            parts: of the run so far, as `part_files` has them.
            retry_failed: whether a segment that failed is not finished.
        """
        self.parts, self.retry_failed = parts, retry_failed
        self.items = 0  # listed so far that are finished
        self._committed = Committed(parts)
        self._moved = scratch_database()
        self._moved.execute("CREATE TABLE moved (item TEXT PRIMARY KEY, place INTEGER, stamp TEXT)")

    def close(self) -> None:
        """Let go of the index."""
        self._committed.close()
        self._moved.close()

    def left(self, listed: Iterable[Row]) -> Iterator[Left]:
        """The items of a listing that are not finished, in its order."""
        for row in listed:
            stamp, place = row["stamp"] or "", row["place"]
            committed = self._committed.segments(row["item"])
            if any((one.stamp, one.place) != (stamp, place) for one in committed):
                moved = (row["item"], place, stamp)
                self._moved.execute("INSERT OR REPLACE INTO moved VALUES (?, ?, ?)", moved)
            known = [one for one in committed if one.stamp == stamp]
            done = {one.segment for one in known if one.good or not self.retry_failed}
            ends = [one.segment for one in known if one.last and one.segment in done]
            if ends and done >= set(range(max(ends))):
                self.items += 1
            else:
                yield Left(row, frozenset(done))

    def moved(self) -> Iterator[Moved]:
        """Items that were listed otherwise than they were committed."""
        yield from map(Moved._make, self._moved.execute("SELECT item, place, stamp FROM moved"))


def not_yet(rows: Iterable[Row], done: frozenset[int]) -> Iterator[Row]:
    """The rows of one item without its finished segments.

    An error among those is kept: it says that there is no more to come, and takes the number of
    the first segment that there is not.
    """
    gone = set(done)
    for row in rows:
        if row["segment"] not in done:
            gone.add(row["segment"])
            yield row
        elif row.get("error"):
            row["segment"] = next(n for n in range(len(gone) + 1) if n not in gone)
            row["last"] = True
            yield row
