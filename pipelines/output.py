"""The folder that a job writes to: made, or refused before any work."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gemma3n.errors import SettingsError


@contextmanager
def writable(output: str | Path) -> Iterator[Path]:
    """A folder that is there and can be written; if it is new and nothing came of it, it goes.

    Raises:
        SettingsError: there can be no such folder, or it cannot be written.
    """
    if not str(output):
        raise SettingsError("output is empty. Name a folder: -o out/")
    folder = Path(output)
    # os.path: Path.is_file raises on a name that is too long.
    if os.path.isfile(folder):  # noqa: PTH113
        raise SettingsError(f"output '{folder}' is a file; a run needs a folder. Name another.")
    new = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise SettingsError(
                f"output '{folder}' cannot be written: {error.strerror}. Choose another folder."
            ) from error
        yield folder
    finally:
        for path in new:
            with suppress(OSError):  # it holds something, or was never made
                path.rmdir()
