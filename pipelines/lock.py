"""One run at a time in a run folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from gemma3n.errors import SettingsError

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends.

    Raises:
        SettingsError: another process holds it.
    """
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise SettingsError(
            f"output '{folder}' is in use by another run. Wait until it has ended, stop it, or "
            "choose another folder."
        ) from error
    try:
        yield
    finally:
        if [path.name for path in folder.iterdir()] == [LOCK]:  # nothing came of the run
            (folder / LOCK).unlink()
        lock.release()
