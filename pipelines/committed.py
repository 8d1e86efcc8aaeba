"""Committed parts -> every segment once, item by item, in memory that does not grow with them."""

import logging
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from stages.scratch import scratch_database
from stages.write import PARTS, part_schema

logger = logging.getLogger(__name__)

_AT_ONCE = 1000  # rows that are looked up together
# Tables of rows that were read last: parts are nearly in order, so the next rows are in them too.
_KEPT_BYTES, _KEPT_TABLES = 32 * 2**20, 512


class Moved(NamedTuple):
    """An item that the source lists otherwise than it was committed last."""

    item: str
    place: int
    stamp: str


class Listed(NamedTuple):
    """What the index says of an item."""

    item: str
    complete: bool  # segments 0, 1, ... up to one that says it is the last are all there
    good: bool  # some segment has a text
    timed: bool  # and start and end


class Segment(NamedTuple):
    """What the index says of a segment."""

    stamp: str  # empty where the source gave none
    segment: int
    place: int
    last: bool
    good: bool


class Committed:
    """All segments of a run folder, whoever committed them and in whatever order.

    A segment that was committed twice counts once: a good one before a failed one, a later before
    an earlier. Of an item whose input has changed (its `stamp`), the segments of the latest count.
    Items are in the order of the source. Parts that cannot be read are passed over.
    """

    def __init__(self, parts: Sequence[Path], moved: Iterable[Moved] = ()) -> None:
        """Index what the parts hold.

        Args:
            parts: of a run folder, the earliest first, as `part_files` has them.
            moved: how the source lists some of the items by now.
        """
        self._kept: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._kept_bytes = 0
        self._parts = parts
        self._index = scratch_database()
        self._index.execute(_ROWS)
        for number, part in enumerate(self._parts):
            self._add(number, part)
        self._index.execute(_MOVED)
        self._index.executemany("INSERT INTO moved VALUES (?, ?, ?)", moved)
        self._index.execute(_ITEMS)
        self._index.execute(_FILL_ITEMS)

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def listed(self) -> Iterator[Listed]:
        """Every item, those that are not complete too."""
        select = "SELECT item, complete, good, timed FROM items ORDER BY place, item"
        for item, *flags in self._index.execute(select):
            yield Listed(item, *map(bool, flags))

    def segments(self, item: str) -> list[Segment]:
        """The segments of an item, in order; those of earlier inputs too."""
        select = "SELECT stamp, segment, place, last, good FROM segments WHERE item = ?"
        return [
            Segment(stamp, number, place, bool(last), bool(good))
            for stamp, number, place, last, good in self._index.execute(select, (item,))
        ]

    def items(self) -> Iterator[list[dict[str, Any]]]:
        """The segments of each item that is complete, as rows of `part_schema`, in order."""
        for _, rows in groupby(self._rows(), key=itemgetter("item")):
            yield list(rows)

    def _add(self, number: int, part: Path) -> None:
        keys: list[tuple[Any, ...]] = []
        try:
            for group, table in enumerate(read_part(part)):
                keys += ((*key, number, group, row) for row, key in enumerate(_keys(table)))
                self._keep((number, group), table)
        except UnreadablePartError as error:
            logger.warning("%s", error)
            return
        self._index.executemany(_ADD, keys)

    def _rows(self) -> Iterator[dict[str, Any]]:
        # CROSS JOIN: items are gone through in their order and nothing needs sorting.
        wanted = self._index.execute(
            "SELECT part, part_group, part_row FROM items CROSS JOIN segments USING (item, stamp) "
            "WHERE complete ORDER BY items.place, items.item, segment"
        )
        while some := wanted.fetchmany(_AT_ONCE):
            places: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
            for place, (part, group, row) in enumerate(some):
                places[part, group].append((place, row))
            rows: list[dict[str, Any]] = [{}] * len(some)
            for where, found in places.items():
                indices = pa.array([row for _, row in found], pa.int64())
                values = self._table(where).take(indices).to_pylist()
                for (place, _), value in zip(found, values, strict=True):
                    rows[place] = value
            yield from rows

    def _table(self, where: tuple[int, int]) -> pa.Table:
        if where in self._kept:
            self._kept.move_to_end(where)
        else:
            part, group = where
            self._keep(where, read_group(self._parts[part], group))
        return self._kept[where]

    def _keep(self, where: tuple[int, int], table: pa.Table) -> None:
        self._kept[where] = table
        self._kept_bytes += table.nbytes
        while len(self._kept) > 1 and (
            len(self._kept) > _KEPT_TABLES or self._kept_bytes > _KEPT_BYTES
        ):
            _, oldest = self._kept.popitem(last=False)
            self._kept_bytes -= oldest.nbytes


class UnreadablePartError(Exception):
    """A part is damaged, or no part of ours."""


def part_files(folder: Path) -> list[Path]:
    """The parts of a run folder, the earliest first."""
    return sorted((folder / PARTS).glob("part-*.parquet"))


def read_part(part: Path) -> Iterator[pa.Table]:
    """The rows of a part, a row group at a time.

    Raises:
        UnreadablePartError: it cannot be opened, is damaged, or lacks our columns.
    """
    try:
        # Not read_table: it would make columns of folders that are named like `nested=small`.
        with pq.ParquetFile(part, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                yield _ours(file.read_row_group(group))
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        what = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise UnreadablePartError(
            f"passed over '{part}': {what}. A part is a Parquet file of a run's results. Delete "
            "it, and the same command makes up for what it held."
        ) from error


def read_group(part: Path, group: int) -> pa.Table:
    """One row group of a part that `read_part` could read."""
    with pq.ParquetFile(part, page_checksum_verification=True) as file:
        return _ours(file.read_row_group(group))


def _ours(table: pa.Table) -> pa.Table:
    schema = part_schema()
    table = table.select(schema.names).cast(schema)
    table.validate(full=True)  # texts too
    if nameless := [name for name in _KEY if table[name].null_count]:
        raise ValueError(f"rows without {' and '.join(nameless)}")
    return table


_KEY = ("item", "segment", "place", "last")


def _keys(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    columns = (*_KEY, "stamp", "error_stage", "start_s", "end_s")
    values = zip(*(table[name].to_pylist() for name in columns), strict=True)
    for item, segment, place, last, stamp, error, start, end in values:
        good = error is None
        timed = good and start is not None and end is not None
        yield item, stamp or "", segment, place, last, good, timed


_ROWS = """
CREATE TABLE segments (
    item TEXT, stamp TEXT, segment INTEGER, place INTEGER, last INTEGER, good INTEGER,
    timed INTEGER, part INTEGER, part_group INTEGER, part_row INTEGER,
    PRIMARY KEY (item, stamp, segment)
) WITHOUT ROWID
"""

_ADD = """
INSERT INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (item, stamp, segment) DO UPDATE SET
    place = excluded.place, last = excluded.last, good = excluded.good, timed = excluded.timed,
    part = excluded.part, part_group = excluded.part_group, part_row = excluded.part_row
WHERE excluded.good >= good
"""

_MOVED = """
CREATE TABLE moved (item TEXT PRIMARY KEY, new_place INTEGER, new_stamp TEXT) WITHOUT ROWID
"""

# By place, so that items are stored in the order in which they are asked for.
_ITEMS = """
CREATE TABLE items (
    place INTEGER, item TEXT, stamp TEXT, complete INTEGER, good INTEGER, timed INTEGER,
    PRIMARY KEY (place, item)
) WITHOUT ROWID
"""

# A row is one of an unbroken 0, 1, 2 ... where as many of its item are before it as it says. Runs
# may have seen an item at several places, since a source may grow. Of several stamps the listed one
# counts, or else that which was committed last.
_FILL_ITEMS = """
INSERT INTO items
SELECT coalesce(new_place, place), item, stamp, complete, good, timed
FROM (
    SELECT found.*, new_place, row_number() OVER (
        PARTITION BY item ORDER BY stamp IS new_stamp DESC, latest DESC
    ) AS nth
    FROM (
        SELECT item, stamp, min(place) AS place, max(last AND segment = before) AS complete,
            max(good) AS good, max(timed) AS timed,
            max((part << 40) + (part_group << 20) + part_row) AS latest
        FROM (
            SELECT *, row_number() OVER (PARTITION BY item, stamp ORDER BY segment) - 1 AS before
            FROM segments
        )
        GROUP BY item, stamp
    ) AS found LEFT JOIN moved USING (item)
)
WHERE nth = 1
ORDER BY 1, item
"""
