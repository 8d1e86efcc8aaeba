"""Segments of one item -> the item, as every format lays it out."""

from collections.abc import Sequence
from typing import Any

from pipelines.overlaps import parted
from pipelines.scripts import joined

Item = dict[str, Any]


def make_item(rows: Sequence[dict[str, Any]]) -> Item:
    """Join what belongs to one item.

    Args:
        rows: of `part_schema`, all of one item, in the order of its segments.

    Returns:
        `item`, `text` (None if no segment is good), `segments` (the good ones: `start_s`, `end_s`,
        `text`, `logprob`; what two of them share is in one), `size`, `note`, `reference`, `extra`
        (one JSON object), `error` (of the first that failed: `stage`, `message`).
    """
    good = parted([row for row in rows if row["error_stage"] is None])
    failed = [row for row in rows if row["error_stage"] is not None]
    notes = dict.fromkeys(row["note"] for row in good if row["note"])
    return {
        "item": rows[0]["item"],
        "text": joined(row["text"] or "" for row in good) if good else None,
        "segments": [
            {key: row[key] for key in ("start_s", "end_s", "text", "logprob")} for row in good
        ],
        "size": good[0]["size"] if good else None,
        "note": "; ".join(notes) or None,
        "reference": rows[0]["reference"],
        "extra": rows[0]["extra"],
        "error": error_of(failed[0]) if failed else None,
    }


def error_of(row: dict[str, Any]) -> dict[str, str]:
    """Why a segment failed."""
    return {"stage": row["error_stage"], "message": row["error_message"]}
