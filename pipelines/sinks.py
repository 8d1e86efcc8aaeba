"""Items -> the formats asked for, all in one pass."""

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import TextIOWrapper
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.cues import cues, is_timed
from pipelines.item_files import ItemFiles
from pipelines.items import Item
from pipelines.subtitles import subtitles
from stages.write import Format, replacing

Sink = Callable[[Item], object]

_AT_ONCE = 1000  # items of a row group
_CSV_COLUMNS = (
    "item",
    "text",
    "segments",
    "size",
    "note",
    "reference",
    "extra",
    "error_stage",
    "error_message",
)
# How a formula begins, in full width too, and also what we made of one.
_FORMULA = re.compile(r"'*[=+@\t\r\uff1d\uff0b\uff0d\uff20-]")
_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?")


def open_sink(kind: Format, table: Path, files: ItemFiles | None) -> AbstractContextManager[Sink]:
    """What writes each item in a format; it is all there when the context ends.

    Args:
        kind: of which format.
        table: where one table goes, for those formats that are one.
        files: where the others go; None only for tables.
    """
    match kind:
        case Format.jsonl:
            return _jsonl(table)
        case Format.csv:
            return _csv(table)
        case Format.parquet:
            return _parquet(table)
        case Format.txt | Format.srt | Format.vtt:
            assert files is not None
            return _files(files, kind)


@contextmanager
def _files(files: ItemFiles, kind: Format) -> Iterator[Sink]:
    def write(item: Item) -> None:
        text = _content(item, kind)
        if text is not None:
            files.write(item["item"], kind, text)

    yield write


def _content(item: Item, kind: Format) -> str | None:
    """What its file holds; None if it has none."""
    if item["text"] is None:
        return None
    if kind is Format.txt:
        return f"{item['text']}\n"
    if not any(map(is_timed, item["segments"])):
        return None
    return subtitles(cues(item["segments"]), kind.value)


@contextmanager
def _jsonl(path: Path) -> Iterator[Sink]:
    with replacing(path) as file:
        yield lambda item: file.write(
            json_line({**item, "extra": json.loads(item["extra"] or "null")})
        )


def json_line(value: dict[str, Any]) -> bytes:
    """One line of a file of JSON lines."""
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


@contextmanager
def _csv(path: Path) -> Iterator[Sink]:
    """RFC 4180, UTF-8: a line an item, `segments` and `extra` as JSON, nothing for what is not.

    A text that a spreadsheet would take for a formula gets a `'` before it, unless it is a number:
    this is the format that people open, and a picture or a file name may say anything. So does a
    text that looks as if it had one already, so that a program which takes one `'` off wherever
    `_FORMULA` matches after it has what was there. The other tables hold every text as it is.
    """
    with replacing(path) as file:
        lines = TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(lines, _CSV_COLUMNS)
        writer.writeheader()

        def write(item: Item) -> None:
            error = item["error"] or {"stage": None, "message": None}
            row = {
                **{column: item[column] for column in _CSV_COLUMNS if column in item},
                "segments": json.dumps(item["segments"], ensure_ascii=False),
                "error_stage": error["stage"],
                "error_message": error["message"],
            }
            writer.writerow({column: _no_formula(text) for column, text in row.items()})

        yield write
        lines.detach()  # flushes, and leaves the file open


def _no_formula(text: str | None) -> str | None:
    if text is None or not _FORMULA.match(text) or _NUMBER.fullmatch(text):
        return text
    return f"'{text}"


@contextmanager
def _parquet(path: Path) -> Iterator[Sink]:
    waiting: list[Item] = []
    with replacing(path) as file, pq.ParquetWriter(file, _item_schema()) as writer:

        def write(item: Item) -> None:
            waiting.append(item)
            if len(waiting) == _AT_ONCE:
                flush()

        def flush() -> None:
            writer.write_table(pa.Table.from_pylist(waiting, _item_schema()))
            waiting.clear()

        yield write
        if waiting:
            flush()


def _item_schema() -> pa.Schema:
    number, text = pa.float64(), pa.string()
    segment = pa.struct({"start_s": number, "end_s": number, "text": text, "logprob": number})
    return pa.schema(
        {
            "item": text,
            "text": text,
            "segments": pa.list_(segment),
            "size": text,
            "note": text,
            "reference": text,
            "extra": text,  # one JSON object
            "error": pa.struct({"stage": text, "message": text}),
        }
    )
