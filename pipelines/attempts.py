"""Which rows were begun and not finished, in files: what a process knew is lost when it dies.

A row that ends its process (a decoder that crashes, no memory) would end every process that gets
it. So a batch is noted before it is touched. One that was touched before, and is here again, goes
row by row, and a row that was touched too often is not touched any more.
"""

import faulthandler
import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from stages.row import Row


class Attempts:
    """Notes of one pool of processes.

    Args:
        folder: where every process of the pool can read and write.
        most: times that a row may be touched.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self.most = folder, most

    def begun(self, rows: Sequence[Row]) -> int:
        """How often just these rows were begun as a batch, and not finished."""
        return noted(self._note("batch", rows))

    def is_hopeless(self, row: Row) -> bool:
        """Whether a row of a batch that was begun was touched too often, alone after that."""
        return noted(self._note("alone", [row])) + 1 >= self.most

    @contextmanager
    def touching(self, rows: Sequence[Row], alone: bool = False) -> Iterator[None]:
        """Note that rows are touched; the note goes unless the process does, or a bug is raised.

        Args:
            rows: a batch, or one row of it.
            alone: whether it is that one row.
        """
        note = self._note("alone" if alone else "batch", rows)
        with note.open("ab") as file:
            file.write(b".")
        yield
        note.unlink(missing_ok=True)

    def has_left(self, item: str, segments: int) -> None:
        """Note that so many segments of an item were handed on: they cannot be taken back."""
        if segments > self.left(item):
            self._path("left", item).write_text(str(segments))

    def left(self, item: str) -> int:
        """How many segments of an item were handed on, by the process that came furthest."""
        note = self._path("left", item)
        return int(note.read_text() or 0) if note.exists() else 0

    def _note(self, kind: str, rows: Sequence[Row]) -> Path:
        return self._path(kind, "\n".join(f"{row['item']}\t{row['segment']}" for row in rows))

    def _path(self, kind: str, what: str) -> Path:
        name = hashlib.sha256(what.encode(errors="surrogatepass")).hexdigest()[:32]
        return self._folder / f"{name}.{kind}"


def noted(note: Path) -> int:
    """Bytes of a note that another process may take away at any moment; none once it has."""
    try:
        return note.stat().st_size
    except FileNotFoundError:
        return 0


@contextmanager
def deadline(seconds: float, stack: TextIO | None = None) -> Iterator[None]:
    """End this process, the places of its threads written down, unless the block ends in time.

    Whoever started it will start it anew. It needs no cooperation of what runs: the timer is a
    thread of its own, which waits for no interpreter lock. There is one timer a process: a second
    block inside would stop it.

    Args:
        seconds: infinity for no end.
        stack: where they are written; None for stderr.
    """
    if not math.isinf(seconds):
        faulthandler.dump_traceback_later(seconds, exit=True, file=stack or sys.stderr)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
