"""Which rows were begun and not finished, in files: what a process knew is lost when it dies.

A row that ends its process (a decoder that crashes, no memory) would end every process that gets
it. So a batch is noted before it is touched. One that was touched before, and is here again, goes
row by row, and a row that was touched too often is not touched any more.
"""

import faulthandler
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from stages.row import Row


class Attempts:
    """Notes of one pool of processes.

    Args:
        folder: where every process of the pool can read and write.
        most: times that a row may be touched.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self.most = folder, most
        folder.mkdir(parents=True, exist_ok=True)

    def begun(self, rows: Sequence[Row]) -> int:
        """How often just these rows were begun together, and not finished."""
        try:
            return self._note(rows).stat().st_size
        except FileNotFoundError:
            return 0

    def is_hopeless(self, row: Row) -> bool:
        """Whether a row was touched too often: in a batch, and then alone."""
        return self.begun([row]) + 1 >= self.most

    @contextmanager
    def touching(self, rows: Sequence[Row]) -> Iterator[None]:
        """Note that rows are touched; the note goes unless the process does, or a bug is raised."""
        note = self._note(rows)
        with note.open("ab") as file:
            file.write(b".")
        yield
        note.unlink(missing_ok=True)

    def forget(self, rows: Sequence[Row]) -> None:
        """Take the note of rows away that were finished one by one."""
        self._note(rows).unlink(missing_ok=True)

    def _note(self, rows: Sequence[Row]) -> Path:
        keys = "\n".join(f"{row['item']}\t{row['segment']}" for row in rows)
        return self._folder / hashlib.sha256(keys.encode(errors="surrogatepass")).hexdigest()[:32]


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """End this process, its threads' places on stderr, unless the block ends in time.

    Whoever started it will start it anew. It needs no cooperation of what runs: the timer is a
    thread of its own, which waits for no interpreter lock.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
