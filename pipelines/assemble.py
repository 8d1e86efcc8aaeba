"""Committed parts -> items, in the formats asked for. May be repeated: it only reads the parts."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.media import kind_of
from stages.write import PARTS, Format, part_schema, replacing

FAILURES = "failures.jsonl"
TXT = "txt"
TABLE = "results"  # with the format's name as extension
_TXT_NAMES = "txt.json"  # beside the parts: the text files that are ours to take away again

_BATCH = 1000  # items in memory at once
_LONGEST_NAME = 200  # bytes; file systems allow 255, and endings come on top


def assemble(folder: Path, formats: Iterable[Format]) -> int:
    """Make items of all segments that were committed, whoever wrote them and in whatever order.

    A segment that was committed twice counts once: a good one before a failed one, a later before
    an earlier. Items are in the order of the source.

    Args:
        folder: of the run.
        formats: to write; `failures.jsonl` is written always.

    Returns:
        How many segments failed.
    """
    segments = _committed(folder)
    failed = 0
    with replacing(folder / FAILURES) as file:
        for row in _rows(segments):
            if row["error_stage"] is not None:
                failed += 1
                file.write(_line({key: row[key] for key in ("item", "segment")} | _error(row)))
    for kind in formats:
        match kind:
            case Format.txt:
                _write_txt(folder, segments)
            case Format.jsonl:
                with replacing(folder / f"{TABLE}.jsonl") as file:
                    for item in _items(segments):
                        extra = json.loads(item["extra"] or "null")
                        file.write(_line({**item, "extra": extra}))
            case Format.parquet:
                items = _items(segments)
                with (
                    replacing(folder / f"{TABLE}.parquet") as file,
                    pq.ParquetWriter(file, _item_schema()) as writer,
                ):
                    while some := list(islice(items, _BATCH)):
                        writer.write_table(pa.Table.from_pylist(some, _item_schema()))
    return failed


def _committed(folder: Path) -> pa.Table:
    """Every segment once, in order."""
    parts = sorted((folder / PARTS).glob("part-*.parquet"))
    # Not read_table: it would make columns of folders that are named like `nested=small`.
    table = pa.concat_tables(
        [part_schema().empty_table(), *(pq.ParquetFile(part).read() for part in parts)]
    )
    names, numbers, errors, places = (
        table[column].to_pylist() for column in ("item", "segment", "error_stage", "place")
    )
    chosen: dict[tuple[str, int], int] = {}
    for index, key in enumerate(zip(names, numbers, strict=True)):
        before = chosen.get(key)
        if before is None or errors[index] is None or errors[before] is not None:
            chosen[key] = index
    order = sorted(chosen.values(), key=lambda i: (places[i], names[i], numbers[i]))
    return table.take(pa.array(order, pa.int64()))


def _rows(segments: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in segments.to_batches(_BATCH):
        yield from batch.to_pylist()


def _items(segments: pa.Table) -> Iterator[dict[str, Any]]:
    for name, group in groupby(_rows(segments), key=lambda row: row["item"]):
        rows = list(group)
        good = [row for row in rows if row["error_stage"] is None]
        failed = [row for row in rows if row["error_stage"] is not None]
        notes = dict.fromkeys(row["note"] for row in good if row["note"])
        texts = (row["text"].strip() for row in good)
        yield {
            "item": name,
            "text": " ".join(text for text in texts if text) if good else None,
            "segments": [
                {key: row[key] for key in ("start_s", "end_s", "text", "logprob")} for row in good
            ],
            "size": good[0]["size"] if good else None,
            "note": "; ".join(notes) or None,
            "reference": rows[0]["reference"],
            "extra": rows[0]["extra"],
            "error": _error(failed[0]) if failed else None,
        }


def _error(row: dict[str, Any]) -> dict[str, str]:
    return {"stage": row["error_stage"], "message": row["error_message"]}


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False) + "\n").encode()


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


def _write_txt(folder: Path, segments: pa.Table) -> None:
    clear_txt(folder)
    items, errors = (segments[column].to_pylist() for column in ("item", "error_stage"))
    names = txt_names(dict.fromkeys(items))
    good = {item for item, error in zip(items, errors, strict=True) if error is None}
    (folder / PARTS).mkdir(exist_ok=True)
    with replacing(folder / PARTS / _TXT_NAMES) as listed:
        listed.write((json.dumps([names[item] for item in sorted(good)]) + "\n").encode())
    (folder / TXT).mkdir(exist_ok=True)
    for item in _items(segments):
        if item["text"] is not None:
            file = folder / TXT / names[item["item"]]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(item["text"] + "\n", encoding="utf-8")


def clear_txt(folder: Path) -> None:
    """Take away the text files that an earlier assembly wrote, and folders that they leave empty.

    Args:
        folder: of the run.
    """
    listed = folder / PARTS / _TXT_NAMES
    names = json.loads(listed.read_text()) if listed.is_file() else []
    for file in (folder / TXT / name for name in names):
        file.unlink(missing_ok=True)
        for above in file.relative_to(folder).parents[:-1]:
            with suppress(OSError):  # it holds something else
                (folder / above).rmdir()
    listed.unlink(missing_ok=True)


def txt_names(items: Iterable[str]) -> dict[str, str]:
    """A file for each item, below the txt folder whatever the item is called.

    `talks/a.wav` -> `talks/a.txt`, or `talks/a.wav.txt` where another item is called `talks/a`.
    """
    safe = {item: "/".join(_safe(part) for part in item.split("/")) for item in items}
    stems = {item: _stem(path) for item, path in safe.items()}
    times = Counter(stem.casefold() for stem in stems.values())  # some file systems ignore case
    # A folder may already be called what a file would be.
    taken = {str(above).casefold() for p in safe.values() for above in PurePosixPath(p).parents}
    names = {}
    for item, path in safe.items():
        base = path if times[stems[item].casefold()] > 1 else stems[item]
        name, number = f"{base}.txt", 1
        while name.casefold() in taken:
            number += 1
            name = f"{base}-{number}.txt"
        taken.add(name.casefold())
        names[item] = name
    return names


def _stem(path: str) -> str:
    """Without the extension of a file that we read; other dots are part of a name."""
    return path.rsplit(".", 1)[0] if kind_of(path) else path


def _safe(part: str) -> str:
    """One name of a path as a name that means nothing to a file system."""
    name = "".join(c if c.isprintable() and c not in '\\:*?"<>|' else "_" for c in part)
    if len(name.encode()) > _LONGEST_NAME:
        name = name.encode()[:_LONGEST_NAME].decode(errors="ignore")
    return name if name.strip(". ") else "_" * max(1, len(name))
