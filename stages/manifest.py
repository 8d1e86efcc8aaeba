"""A jsonl manifest -> light rows, one a line."""

import json
import os
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
            item = str(number)
            if not line.strip():
                continue
            try:
                raw = _parse(line)
                item = _text(raw, "id") or item
                yield _row(raw, item, path.parent, media)
            except InputError as error:
                yield light_row(item, error=f"line {number} of '{path}' {error}")


def _parse(line: bytes) -> dict[str, Any]:
    try:
        raw = json.loads(line.decode("utf-8-sig"))
        json.dumps(raw, ensure_ascii=False).encode()  # half a surrogate pair fits in no result
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON in UTF-8: {error}. {_EXAMPLE}") from error
    if not isinstance(raw, dict):
        raise InputError(f"is a JSON {type(raw).__name__}. {_EXAMPLE}")
    return raw


def _row(raw: dict[str, Any], item: str, folder: Path, media: Collection[Media]) -> Row:
    if raw.get("offset"):
        raise InputError(
            f"begins at offset={raw['offset']!r} of its file; whole files only, for now. "
            "Cut the clip out into a file of its own."
        )
    files = [
        (name, kind or kind_of(name))
        for key, kind in _MEDIA_KEYS.items()
        for name in _names(raw, key)
    ]
    for name, kind in files:
        if kind not in media:
            raise InputError(
                f"names '{name}', but this job takes {accepted(media)}. "
                "Leave it out, or use the job that takes it, such as generate."
            )
    prompt = _text(raw, "prompt")
    if not files and prompt is None:
        raise InputError(
            f"has nothing to work on. Give it a prompt, or one of {', '.join(_MEDIA_KEYS)}."
        )
    reference = next((key for key in _REFERENCE_KEYS if raw.get(key) is not None), "reference")
    extra = {k: v for k, v in raw.items() if k not in {*_MEDIA_KEYS, "id", "prompt", reference}}
    return light_row(
        files[0][0] if files and not _text(raw, "id") else item,
        audio_paths=[_beside(folder, name) for name, kind in files if kind is Media.audio],
        image_paths=[_beside(folder, name) for name, kind in files if kind is Media.image],
        prompt=prompt,
        reference=_text(raw, reference),
        extra=json.dumps(extra, ensure_ascii=False) if extra else None,
    )


def _names(raw: dict[str, Any], key: str) -> list[str]:
    value = raw.get(key)
    names = value if isinstance(value, list) else [] if value is None else [value]
    if not all(isinstance(name, str) and name and "\0" not in name for name in names):
        raise InputError(f"has {key}={value!r}; accepted are a path and a list of paths.")
    return names


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
