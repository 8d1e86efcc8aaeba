"""A list of paths on stdin -> the paths. It can be read once only, but is asked for again."""

import functools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


def listed_on_stdin() -> Iterator[str]:
    """The paths, one a line; each name as the bytes that it is, empty lines left out."""
    with Path(_spooled().name).open("rb") as lines:
        for line in lines:
            if name := line.rstrip(b"\r\n"):
                yield os.fsdecode(name)


@functools.cache
def _spooled() -> "tempfile._TemporaryFileWrapper[bytes]":
    """What stdin held, on disk, for as long as this process lives: it may be longer than memory."""
    copy = tempfile.NamedTemporaryFile()  # noqa: SIM115
    shutil.copyfileobj(sys.stdin.buffer, copy)
    copy.flush()
    return copy
