"""A listed row -> its stamp: another one means that the item's input has changed."""

import json
import os
from hashlib import blake2b

from stages.parquet_cells import file_of, is_cell
from stages.remote import is_url
from stages.row import Row

_SAID = ("prompt", "task", "language", "turns", "reference", "extra", "offset_s", "stated_s")
MISSING = "missing"  # of a file that is not there, or may not be looked at


def stamp_of(row: Row, files: str | None = None) -> str:
    """Sum up what the row says and which versions of its files are there; opens none of them.

    Where the files lie is no part of it: a folder may be moved.

    Args:
        row: as listed, without `place` and `stamp`.
        files: what a listing told of its file; None looks at each file, of which a URL counts as
            the same for ever: to ask a server about every line of a manifest would take hours.
    """
    if files is None:
        files = " ".join(map(_file_stamp, [*row["audio_paths"], *row["image_paths"]]))
    error = row["error"] and row["error"]["message"]
    said = json.dumps([row.get(column) for column in _SAID] + [error])
    return blake2b(f"{files}\n{said}".encode(), digest_size=8).hexdigest()


def _file_stamp(path: str) -> str:
    if is_url(path):
        return path
    try:
        found = os.stat(file_of(path) if is_cell(path) else path)  # noqa: PTH116
    except (OSError, ValueError):
        return MISSING
    where = path.rpartition("#")[2] if is_cell(path) else ""
    return f"{found.st_size}:{found.st_mtime_ns}{where}"
