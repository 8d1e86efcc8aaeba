"""A jsonl manifest -> light rows, one a line."""

import json
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from gemma3n.errors import InputError
from stages.media import Media, accepted, kind_of
from stages.row import Row, light_row

# A key without a kind goes by the file's extension. NeMo says audio_filepath.
_MEDIA_KEYS = {
    "audio": Media.audio,
    "audio_filepath": Media.audio,
    "image": Media.image,
    "images": Media.image,
    "file": None,
}
# Other spellings of the same: to overlook them would answer a question about a file without it.
_OTHER_MEDIA = re.compile(r"(audio|image|img|video|wav)s?(_?(file|path|filepath))?", re.I)
_REFERENCE_KEYS = ("reference", "text", "caption")  # the first that a line has
_EXAMPLE = 'A line is one object, such as {"audio": "a.wav", "text": "hello"}.'


def is_manifest(path: Path) -> bool:
    """Whether a path that somebody gives is to be read as a list of work."""
    return path.suffix.lower() == ".jsonl" and path.is_file()


def manifest_rows(path: Path, media: Collection[Media]) -> Iterator[Row]:
    """One row a line, in order; a line that cannot be used is a row with the error.

    A row's item is the line's `id`, else its first media path as written, else the line's number.

    Args:
        path: UTF-8, a JSON object a line. Media paths count from its folder.
        media: kinds of files the job takes.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            row = light_row(str(number))
            try:
                _fill(row, _parse(line), path.parent, media)
            except InputError as error:
                row["error"] = {"stage": "read", "message": f"line {number} of '{path}' {error}"}
            yield row


def _parse(line: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(line.decode("utf-8-sig"))
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair fits in no result
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON in UTF-8: {error}. {_EXAMPLE}") from error
    if not isinstance(raw, dict):
        raise InputError(f"is a JSON {type(raw).__name__}. {_EXAMPLE}")
    return raw


def _fill(row: Row, raw: dict[str, Any], folder: Path, media: Collection[Media]) -> None:
    """Give the row what a line says, first what a row with an error needs too."""
    reference = next((key for key in _REFERENCE_KEYS if raw.get(key) is not None), "reference")
    extra = {key: value for key, value in raw.items() if key not in ("id", reference)}
    row["extra"] = json.dumps(extra, ensure_ascii=False) if extra else None
    name = _text(raw, "id")
    row["item"] = name or row["item"]
    row["reference"] = _text(raw, reference)
    files = [
        (path, kind or kind_of(path))
        for key, kind in _MEDIA_KEYS.items()
        for path in _paths(raw, key)
    ]
    if files and not name:
        row["item"] = files[0][0]
    for key in raw:
        value = raw[key]
        if key in _MEDIA_KEYS or not _OTHER_MEDIA.fullmatch(key):
            continue
        if value and isinstance(value, str | list | dict):
            raise InputError(
                f"has {key}={value!r}, which is not read; files are named by "
                f"{', '.join(_MEDIA_KEYS)}. Rename the key, or leave it out."
            )
    if raw.get("offset"):
        raise InputError(
            f"begins at offset={raw['offset']!r} of its file; whole files only, for now. "
            "Cut the clip out into a file of its own."
        )
    for path, kind in files:
        if kind not in media:
            raise InputError(
                f"names '{path}', but this job takes {accepted(media)}. "
                "Leave it out, or use the job that takes it, such as generate."
            )
    row["prompt"] = _text(raw, "prompt")
    if not files and row["prompt"] is None:
        raise InputError(
            f"has nothing to work on. Give it a prompt, or one of {', '.join(_MEDIA_KEYS)}."
        )
    row["audio_paths"] = [_beside(folder, path) for path, kind in files if kind is Media.audio]
    row["image_paths"] = [_beside(folder, path) for path, kind in files if kind is Media.image]
    seconds: Any = raw.get("duration")
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if is_number and len(row["audio_paths"]) == 1:
        row["stated_s"] = float(min(seconds, 1e9))  # JSON's numbers may be longer than a float


def _paths(raw: dict[str, Any], key: str) -> list[str]:
    value = raw.get(key)
    paths = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise InputError(
            f"has {key}={value!r}; accepted are a path and a list of paths. Correct it."
        )
    return paths


def _text(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)  # an id or a reference may well be a number
    raise InputError(f"has {key}={value!r}; accepted is a text. Put it in quotes.")


def _beside(folder: Path, name: str) -> str:
    """Where a media path leads: from the manifest's folder, or naming that folder first."""
    root = folder.resolve()
    if Path(name).parts[:1] == (root.name,) and not os.access(folder / name, os.F_OK):
        return str(root.parent / name)
    return str(folder / name)
