"""What a row names -> an open file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a medium, to read and to seek in.

    Args:
        path: as in `audio_paths` and `image_paths` of a row.

    Raises:
        OSError: it cannot be opened.
    """
    with Path(path).open("rb") as file:
        yield file
