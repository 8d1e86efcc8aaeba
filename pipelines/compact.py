"""Many small parts -> few large ones, with the same rows in the same order."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.committed import UnreadablePartError, part_files, read_part
from stages.write import part_schema, replacing

logger = logging.getLogger(__name__)

_LARGE = 10_000  # rows: a part that has as many is left alone, or all would be copied ever again
_GROUP = 1000  # rows that are read at once


def compact(folder: Path, keep: int = 0) -> int:
    """Merge parts that follow each other. It may end at any moment: nothing is lost by that.

    A merged part is on disk before those it replaces are deleted, and it sorts after them and
    before what followed. So if some of them stay, their rows are just there twice, the merged ones
    later, and assembly takes each once, and the same ones as before.

    Args:
        folder: of the run. Others may write parts to it meanwhile, but only one may compact.
        keep: parts, the newest, to leave as they are.

    Returns:
        How many parts were merged into others.
    """
    parts = part_files(folder)
    merged = 0
    for small in _runs(parts[: max(0, len(parts) - keep)]):
        _merge(small)
        for part in small:  # the earliest first, so that those that stay are the latest
            part.unlink()
        merged += len(small)
    if merged:
        logger.info("%d parts merged in %s", merged, folder)
    return merged


def _runs(parts: Iterable[Path]) -> Iterator[list[Path]]:
    """Parts to merge: small ones, as many as make a large one; at least two."""
    run: list[Path] = []
    total = 0
    for part in parts:
        rows = _rows(part)
        if total + rows >= _LARGE:
            if len(run) > 1:
                yield run
            run, total = [], 0
        if rows < _LARGE:
            run.append(part)
            total += rows
    if len(run) > 1:
        yield run


def _rows(part: Path) -> int:
    """How many rows it has; one that cannot be read is none to merge, like a large one."""
    rows = 0
    try:
        for table in read_part(part):
            rows += table.num_rows
            if rows >= _LARGE:
                break
    except UnreadablePartError:  # assembly says so
        return _LARGE
    return rows


def _merge(parts: list[Path]) -> None:
    # `_` is after the `.` of the last part's name and before any digit that another may go on
    # with. The rest is so that no merge ever takes the name of another one's.
    path = parts[-1].with_name(f"{parts[-1].stem}_{uuid4().hex[:8]}.parquet")
    with (
        replacing(path) as half,
        pq.ParquetWriter(half, part_schema(), write_page_checksum=True) as writer,
    ):
        waiting: list[pa.Table] = []
        for table in (table for part in parts for table in read_part(part)):
            waiting.append(table)
            if sum(some.num_rows for some in waiting) >= _GROUP:
                writer.write_table(pa.concat_tables(waiting), row_group_size=_GROUP)
                waiting = []
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_GROUP)
