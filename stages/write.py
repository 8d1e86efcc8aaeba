"""Finished rows -> committed parts of the results."""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from stages.model import Load
from stages.row import Row, Stage
from stages.setting import setting

if TYPE_CHECKING:
    import pyarrow as pa

PARTS = "results"  # folder of the parts, within the run folder


class Format(Enum):
    """How results are laid out for their reader."""

    txt = "txt"
    srt = "srt"
    vtt = "vtt"
    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


@dataclass
class SinkSettings:
    """What is made of the results."""

    formats: list[Format] = setting(
        [Format.txt, Format.jsonl],
        "txt, srt, vtt (subtitles): a file an item; jsonl, csv, parquet: one table",
    )


class Write(Stage):
    """Commits each batch as one part: it is there whole or not at all, even after a power cut.

    Several writers may share a run folder, and a row may be written twice: `pipelines.assemble`
    goes by (item, segment).
    """

    settings_type = SinkSettings
    reads = ("item", "segment", "last", "text")
    sees_errors = True

    def __init__(self, settings: SinkSettings, load: Load, folder: Path) -> None:
        self.folder = folder / PARTS
        self.folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, rows: list[Row]) -> list[Row]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not rows:
            return rows
        table = pa.Table.from_pylist([_result(row) for row in rows], schema=part_schema())
        # By time, so that a later part of the same row is known; and unique among writers.
        name = f"part-{time.time_ns():020d}-{uuid.uuid4().hex[:8]}.parquet"
        with replacing(self.folder / name) as half:
            pq.write_table(table, half)
        return rows


def part_schema() -> "pa.Schema":
    """Columns of a part: one row a segment, good or failed."""
    import pyarrow as pa

    return pa.schema(
        {
            "item": pa.string(),
            "segment": pa.int32(),
            "last": pa.bool_(),
            "place": pa.int64(),
            "stamp": pa.string(),
            "start_s": pa.float64(),
            "end_s": pa.float64(),
            "audio_s": pa.float64(),
            "image_count": pa.int32(),
            "text": pa.string(),
            "new_tokens": pa.int32(),
            "logprob": pa.float64(),
            "size": pa.string(),
            "note": pa.string(),
            "reference": pa.string(),
            "extra": pa.string(),
            "error_stage": pa.string(),
            "error_message": pa.string(),
        }
    )


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes its name when it is whole and on disk, and not before."""
    half = path.with_name(f".{path.name}.half")
    try:
        with half.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    if hasattr(os, "O_DIRECTORY"):  # not on Windows; elsewhere the new name must reach the disk too
        folder = os.open(path.parent, os.O_DIRECTORY)
        os.fsync(folder)
        os.close(folder)


def _result(row: Row) -> dict[str, Any]:
    error = row.get("error")
    # A message may quote a file name, and those may hold bytes that are no text.
    message = error["message"].encode(errors="backslashreplace").decode() if error else None
    return {
        **row,
        "image_count": len(row["image_paths"]),
        "error_stage": error["stage"] if error else None,
        "error_message": message,
    }
