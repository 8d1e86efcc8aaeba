"""Files in the cells of parquet tables, as Hugging Face data sets have them, and their addresses.

A cell is `struct<bytes, path>`, plain `binary`, or a list of the first. Its address is a path of
the form `parquet-cell:FILE#ROW.ELEMENT/COLUMN/NAME`: row and element count from 0, and NAME is what
the cell says that its file is called, for its extension; it may be empty.
"""

import re
from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import accumulate
from pathlib import PurePath
from threading import Lock
from typing import Any

from gemma3n.errors import InputError
from stages.files import open_file
from stages.remote import is_url, sibling

_ADDRESS = re.compile(r"parquet-cell:(.+)#(\d+)\.(\d+)/([^/]+)/([^/]*)", re.S)
_AT_ONCE = 4  # cells that are read together; each may be many megabytes
_KEPT = 4  # such batches of a column that stay, for threads that read rows near each other
_OPEN = 4  # columns that are kept open


def cell_address(file: str, row: int, element: int, column: str, name: str) -> str:
    """What a row names a cell by; see above. Neither column nor name holds a `/`."""
    return f"parquet-cell:{file}#{row}.{element}/{column}/{name}"


def is_cell(path: str) -> bool:
    """Whether a path is the address of a cell."""
    return path.startswith("parquet-cell:")


def file_of(address: str) -> str:
    """The parquet file that a cell is in."""
    return _parsed(address)[1]


def read_cell(address: str) -> bytes | str:
    """What a cell holds, and nothing else of its file; any thread may ask.

    Cells are found fast if they are asked for in about the order they are in.

    Returns:
        The bytes, or the path of the file that the cell names in place of them.

    Raises:
        InputError: the table cannot be read, or the cell is empty.
    """
    found = _parsed(address)
    file, column = found[1], found[4]
    try:
        value = _cell(file, column, int(found[2]))
    except InputError:
        raise
    except Exception as error:  # what Arrow raises for a broken file is its own affair
        raise InputError(
            f"'{address}' cannot be read: {error}. Copy the parquet file anew, or leave it out."
        ) from error
    if isinstance(value, list):
        value = value[int(found[3])]
    cell = value if isinstance(value, dict) else {"bytes": value}
    if content := cell.get("bytes"):
        return content
    if path := cell.get("path"):
        return sibling(file, path) if is_url(file) else str(PurePath(file).parent / path)
    raise InputError(f"'{address}' is an empty cell, 0 bytes. Fill it, or leave it out.")


class _Column:
    """One column of a parquet file, read from front to back a few rows at a time."""

    def __init__(self, file: str, column: str) -> None:
        import pyarrow.parquet as pq

        self.column = column
        self.file = open_file(file)
        # Arrow would else hold all of a row group, which may be all of the file.
        self.table = pq.ParquetFile(self.file, buffer_size=2**20, pre_buffer=False)
        groups = self.table.metadata.num_row_groups
        rows = [self.table.metadata.row_group(group).num_rows for group in range(groups)]
        self.starts = list(accumulate(rows, initial=0))  # of each row group, and the end
        self.batches: Iterator[Any] = iter(())
        self.kept: deque[tuple[int, list[Any]]] = deque(maxlen=_KEPT)  # (first row, cells)
        self.next = -1  # the row that `batches` go on with; none yet

    def __getitem__(self, row: int) -> Any:
        for start, cells in self.kept:
            if start <= row < start + len(cells):
                return cells[row - start]
        group = next(g for g, end in enumerate(self.starts[1:]) if row < end)
        if not self.starts[group] <= self.next <= row:
            self._begin(group)
        while self.next <= row:
            start, cells = self.next, next(self.batches).column(0)
            self.next += len(cells)
            if row < self.next:  # others are passed over unseen
                self.kept.append((start, cells.to_pylist()))
        return self.kept[-1][1][row - self.kept[-1][0]]

    def _begin(self, group: int) -> None:
        groups = range(group, self.table.metadata.num_row_groups)
        self.batches = self.table.iter_batches(
            _AT_ONCE, row_groups=groups, columns=[self.column], use_threads=False
        )
        self.next = self.starts[group]


_lock = Lock()
_columns: OrderedDict[tuple[str, str], _Column] = OrderedDict()


def _cell(file: str, column: str, row: int) -> Any:
    with _lock:
        # Out while it reads: after an error it is of no use any more.
        reader = _columns.pop((file, column), None) or _Column(file, column)
        value = reader[row]
        _columns[file, column] = reader
        if len(_columns) > _OPEN:
            _columns.popitem(last=False)[1].file.close()
        return value


def _parsed(address: str) -> re.Match[str]:
    found = _ADDRESS.fullmatch(address)
    assert found, address
    return found
