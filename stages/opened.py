"""What a row names -> an open file."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from gemma3n.errors import InputError
from stages.files import open_file
from stages.parquet_cells import is_cell, read_cell


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a medium, to read and to seek in. Any thread may call it.

    Args:
        path: as in `audio_paths` and `image_paths` of a row: of a file on this machine, a URL, or
            the address of a cell of a parquet file.

    Raises:
        InputError: it cannot be opened, is no file, or is empty.
    """
    with _cell(path) if is_cell(path) else open_file(path) as file:
        if not file.seek(0, io.SEEK_END):
            raise InputError(f"'{path}' is empty, 0 bytes. Copy it anew, or leave it out.")
        file.seek(0)
        yield file


def _cell(address: str) -> BinaryIO:
    content = read_cell(address)
    return io.BytesIO(content) if isinstance(content, bytes) else open_file(content)
