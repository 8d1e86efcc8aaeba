"""A manifest in any format -> its entries, one object each, streamed."""

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple, cast

from gemma3n.errors import InputError
from stages.files import open_file
from stages.parquet_rows import parquet_rows
from stages.remote import name_of

ENDINGS = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".jsonl.gz", ".json.gz")
Said = dict[str, Any] | InputError  # an object, or why there is none
CheckColumns = Callable[[Collection[str]], None]  # raises InputError for a table of no use

_EXAMPLE = 'A line is one object, such as {"audio": "a.wav", "text": "hello"}.'
_BLOCK = 2**16  # characters of a list that are read at once
_LONGEST = 2**24  # characters of one object in it
_BETWEEN = re.compile(r"[\s,]*")


class Entry(NamedTuple):
    """What a manifest says at one place."""

    place: str  # "line 7 of 'm.csv'"; empty where the error is the manifest's
    number: int  # which line, row or object, from 1
    said: Said


def ending_of(path: str) -> str:
    """Which of `ENDINGS` the name of a file, or at a URL, has; else nothing."""
    name = name_of(path).lower()
    return next((ending for ending in ENDINGS if name.endswith(ending)), "")


def entries(path: str, check_columns: CheckColumns = lambda names: None) -> Iterator[Entry]:
    """Every entry in order. One that cannot be read says why, and the next one follows.

    Args:
        path: of a file here or a URL, with one of `ENDINGS`.
        check_columns: is asked about the columns of a table, before its rows.
    """
    ending = ending_of(path)
    unit = "row" if ending == ".parquet" else "line"
    try:
        with _readable(path) as file:
            found: Iterator[tuple[int, Said]]
            if unit == "row":
                found = parquet_rows(path, file, check_columns)
            elif ending in (".csv", ".tsv"):
                found = _csv_rows(path, file, check_columns)
            elif not ending.startswith(".jsonl") and _is_list(path, file):
                unit, found = "object", _listed(file)
            else:
                found = _lines(file)
            for number, said in found:
                yield Entry(f"{unit} {number} of '{path}'", number, said)
    except InputError as error:
        yield Entry("", 0, error)
    except (OSError, EOFError, zlib.error, UnicodeError) as error:
        why = f"'{path}' cannot be read to its end: {error}. Copy it anew, or write it as UTF-8."
        yield Entry("", 0, InputError(why))


@contextmanager
def _readable(path: str) -> Iterator[BinaryIO]:
    with open_file(path) as file:
        if not ending_of(path).endswith(".gz"):
            yield file
            return
        with gzip.open(file) as unpacked:
            yield cast(BinaryIO, unpacked)


def _lines(file: BinaryIO) -> Iterator[tuple[int, Said]]:
    for number, line in enumerate(file, start=1):
        if line.strip():
            yield number, _object(line)


def _object(line: bytes) -> Said:
    try:
        found = json.loads(line.decode("utf-8-sig"))
        return _checked(found) if b"\\u" in line or not isinstance(found, dict) else found
    except (ValueError, RecursionError) as error:
        return InputError(f"is not JSON in UTF-8: {error}. {_EXAMPLE}")


def _checked(found: Any) -> Said:
    if not isinstance(found, dict):
        return InputError(f"is a JSON {type(found).__name__}. {_EXAMPLE}")
    try:
        json.dumps(found, ensure_ascii=False).encode()
    except UnicodeError as error:
        return InputError(f"is not JSON in UTF-8: half a character, {error}. {_EXAMPLE}")
    return found


def _is_list(path: str, file: BinaryIO) -> bool:
    """Whether a file of JSON is one list, and not an object a line."""
    begin = file.read(_BLOCK)
    file.seek(0)
    text = begin.removeprefix(b"\xef\xbb\xbf").lstrip()
    first, end, _ = text.partition(b"\n")
    is_list = text.startswith(b"[")
    if (
        text
        and not is_list
        and (not text.startswith(b"{") or (end and first.rstrip()[-1:] != b"}"))
    ):
        raise InputError(
            f"'{path}' begins with {text[:20].decode(errors='replace')!r}; accepted in a .json are "
            "one list of objects, and one object a line. Take the list out into a file of its own."
        )
    return is_list


def _listed(file: BinaryIO) -> Iterator[tuple[int, Said]]:
    """The objects of a list, which need not fit in memory together."""
    text, decoder = io.TextIOWrapper(file, "utf-8-sig"), json.JSONDecoder()
    block = text.read(_BLOCK)
    at, number = block.index("[") + 1, 1
    while True:
        at = cast(re.Match[str], _BETWEEN.match(block, at)).end()
        if block.startswith("]", at):
            return
        try:
            found, at = decoder.raw_decode(block, at)
        except (ValueError, RecursionError) as error:  # cut off by the end of the block?
            block = block[at:]
            more = text.read(max(_BLOCK, len(block))) if len(block) < _LONGEST else ""
            if not more:
                yield (
                    number,
                    InputError(
                        f"is not JSON: {error}. What follows is not read. Correct it, or write one "
                        "object a line (.jsonl), where one mistake does not hide the rest."
                    ),
                )
                return
            block, at = block + more, 0
        else:
            yield number, _checked(found)
            number += 1


def _csv_rows(path: str, file: BinaryIO, check_columns: CheckColumns) -> Iterator[tuple[int, Said]]:
    """The rows below the header; cells that are empty are left out."""
    lines = (line.decode(errors="surrogateescape") for line in file)
    head = next(lines, "").removeprefix("\ufeff")
    if not head:
        return
    if "\0" in head or _is_cut(head):
        raise InputError(f"'{path}' is not in UTF-8. Save it as UTF-8.")
    if ending_of(path) == ".tsv":
        # As corpora write them (Common Voice, for one): a quote is a letter like any other.
        form: dict[str, Any] = {"delimiter": "\t", "quoting": csv.QUOTE_NONE}
    else:
        form = {"delimiter": max(",;\t", key=head.count)}
    try:
        names = [name.strip() for name in next(csv.reader([head], **form), [])]
    except csv.Error as error:
        raise InputError(
            f"'{path}' has a header that is not CSV: {error}. End each line with a newline."
        ) from error
    check_columns(names)
    rows = csv.reader(lines, **form)
    while True:
        try:
            cells = next(rows, None)
        except csv.Error as error:
            yield rows.line_num + 1, InputError(f"is not CSV: {error}. Correct its quotes.")
            continue
        if cells is None:
            return
        if cells:
            yield rows.line_num + 1, _row(names, cells)


def _row(names: list[str], cells: list[str]) -> Said:
    if _is_cut("".join(cells)):
        return InputError("is not in UTF-8. Save the file as UTF-8.")
    if any(cells[len(names) :]):
        return InputError(
            f"has {len(cells)} cells, but the header names {len(names)} columns. "
            "Put a cell that holds a comma in quotes."
        )
    return {name: cell for name, cell in zip(names, cells, strict=False) if cell and name}


def _is_cut(text: str) -> bool:
    """Whether it was made of bytes that are no text."""
    return any("\udc80" <= letter <= "\udcff" for letter in text) if not text.isascii() else False
