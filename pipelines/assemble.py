"""Committed parts -> items, in the formats asked for. May be repeated: it only reads the parts."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from pipelines.committed import Committed, Moved, part_files
from pipelines.item_files import FILE_FORMATS, ItemFiles, clear_files
from pipelines.items import error_of, make_item
from pipelines.sinks import json_line, open_sink
from stages.write import Format, replacing

logger = logging.getLogger(__name__)

FAILURES = "failures.jsonl"
TABLE = "results"  # with the format's name as extension
TABLES = {kind: f"{TABLE}.{kind.value}" for kind in Format if kind not in FILE_FORMATS}
_SUBTITLES = (Format.srt, Format.vtt)


@dataclass
class Assembled:
    """How much there was."""

    items: int = 0  # those that are complete
    failed: int = 0  # segments of them
    incomplete: int = 0  # items whose last segments are still to come; they are in no output


def assemble(folder: Path, formats: Iterable[Format], moved: Iterable[Moved] = ()) -> Assembled:
    """Make items of all segments that were committed, whoever wrote them and in whatever order.

    A segment that was committed twice counts once: a good one before a failed one, a later before
    an earlier. Items are in the order of the source. One whose segments are not all there yet, up
    to the one that says it is the last, is left out. What an earlier assembly made in other formats
    is taken away, as it may say something else.

    Args:
        folder: of the run.
        formats: to write; `failures.jsonl` is written always.
        moved: how the source lists some of the items by now.
    """
    asked = list(dict.fromkeys(formats))
    clear_files(folder)
    for kind, name in TABLES.items():
        if kind not in asked:
            (folder / name).unlink(missing_ok=True)
    with closing(Committed(part_files(folder), moved)) as committed, ExitStack() as opened:
        files = None
        if by_file := [kind for kind in asked if kind in FILE_FORMATS]:
            items = (listed.item for listed in committed.listed())
            files = opened.enter_context(closing(ItemFiles(folder, items)))
            files.announce(_files(committed, by_file))
        failures = opened.enter_context(replacing(folder / FAILURES))
        sinks = [
            opened.enter_context(open_sink(kind, folder / f"{TABLE}.{kind.value}", files))
            for kind in asked
        ]
        done = Assembled(incomplete=_incomplete(committed, asked))
        for rows in committed.items():
            done.items += 1
            for row in rows:
                if row["error_stage"] is not None:
                    done.failed += 1
                    key = {"item": row["item"], "segment": row["segment"]}
                    failures.write(json_line(key | error_of(row)))
            item = make_item(rows)
            for write in sinks:
                write(item)
    return done


def _incomplete(committed: Committed, asked: list[Format]) -> int:
    """How many items are; the log says it, and where nothing fits a format."""
    incomplete, good, timed = 0, 0, 0
    for listed in committed.listed():
        incomplete += not listed.complete
        good += listed.complete and listed.good
        timed += listed.complete and listed.timed
    if incomplete:
        logger.info("%d items are incomplete, and left out until they are whole", incomplete)
    no_file = [kind.value for kind in asked if kind in _SUBTITLES]
    if no_file and good and not timed:
        logger.warning(
            "no %s: none of %d items has times. Recordings have; pictures, texts and rows of "
            "several files do not. Ask for other sink.formats.",
            " or ".join(no_file),
            good,
        )
    return incomplete


def _files(committed: Committed, formats: list[Format]) -> Iterator[tuple[str, Format]]:
    """Which items have a file in which of the formats: all that are good, subtitles with times."""
    for listed in committed.listed():
        for kind in formats:
            if listed.complete and (listed.timed if kind in _SUBTITLES else listed.good):
                yield listed.item, kind
