"""One entry of a manifest -> a light row. Which spellings of which fields are accepted."""

import json
import math
import re
from collections.abc import Callable, Collection
from typing import Any

from gemma3n.errors import InputError
from stages.media import Media, accepted, kind_of, read_as
from stages.messages import turns_of
from stages.parquet_rows import Cell
from stages.row import Row

# A key without a kind goes by the file's extension. NeMo says audio_filepath.
_MEDIA_KEYS = {
    "audio": Media.audio,
    "audio_filepath": Media.audio,
    "image": Media.image,
    "images": Media.image,
    "video": Media.video,
    "file": None,
}
FILE_NAME = re.compile(r"(\w+_)?file_names?")  # of Hugging Face; read where none of these names one
_PATH = re.compile(r"(file_?)?path", re.I)  # the same, if it is of a kind that we know
# Other spellings of the same: to overlook them would answer a question about a file without it.
_OTHER_MEDIA = re.compile(r"(audio|image|img|video|wav)s?(_?(file|path|filepath))?", re.I)
# Spellings of the others, of which the first counts that an entry has.
REFERENCES = "references"  # several that are each as good; in `extra` they have this name too
_REFERENCE = (
    *("reference", "text", "caption", "transcription", "transcript", "sentence"),
    REFERENCES,
)
LANGUAGE = ("language", "lang", "source_lang")
_CHAT = ("turns", "messages")
_NEMO_TASKS = {"asr": "transcribe", "ast": "translate", "s2t_translation": "translate"}
_HOW = f"Give it a prompt, or one of {', '.join([*_MEDIA_KEYS, 'file_name', *_CHAT])}."

_Files = list[tuple[str | Cell, Media | None]]  # each with its kind


def fill(
    row: Row, raw: dict[str, Any], path_of: Callable[[str], str], media: Collection[Media]
) -> None:
    """Give the row what an entry says, first what a row with an error needs too.

    Args:
        row: a light one, whose item is the entry's number.
        raw: the entry.
        path_of: where a path in it leads.
        media: kinds of files the job takes.

    Raises:
        InputError: the entry cannot be used; the message is the rest of a sentence about it.
    """
    reference = _spelt(raw, _REFERENCE)
    extra = {
        key: value
        for key, value in raw.items()
        if key not in ("id", reference) and not (isinstance(value, Cell) and not value.name)
    }
    several = raw.get(reference)
    if isinstance(several, list):
        extra[REFERENCES] = several
    row["extra"] = json.dumps(extra, ensure_ascii=False, default=str) if extra else None
    name = _text(raw, "id")
    row["item"] = name or row["item"]
    row["reference"] = _reference(raw, reference)
    files = _files(raw)
    chat = raw.get(_spelt(raw, _CHAT))
    if chat is not None:
        turns, said = turns_of(chat, media)
        _paths({"chat": [path for _, path in said if path is not None]}, "chat")
        files = _said_in_chat(said, files)
        row["turns"] = json.dumps(turns, ensure_ascii=False)
    if files and not name:
        row["item"] = str(files[0][0]) or row["item"]
    for path, kind in files:
        if read_as(kind, media) is None:
            raise InputError(
                f"names '{path}', but this job takes {accepted(media)}. "
                "Leave it out, or use the job that takes it, such as generate."
            )
    row["prompt"] = _text(raw, "prompt")
    row["task"] = _text(raw, "task") or _nemo_task(raw)
    language = raw.get(_spelt(raw, LANGUAGE))
    row["language"] = language if isinstance(language, str) else None  # it is but a hint
    nested = raw.get("nested")
    row["nested"] = nested if isinstance(nested, str) else None  # else it is the manifest's own
    if not files and row["prompt"] is None and row["turns"] is None:
        raise InputError(f"has nothing to work on. {_HOW}")
    for path, kind in files:
        paths = row["audio_paths" if read_as(kind, media) is Media.audio else "image_paths"]
        paths.append(path.address if isinstance(path, Cell) else path_of(path))
    _part_of_file(row, raw)


def _files(raw: dict[str, Any]) -> _Files:
    """The files that an entry names, in order, each with its kind."""
    cells: _Files = [
        (one, kind)
        for key, value in raw.items()
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, Cell) and (kind := _kind_of_cell(key, one))
    ]
    if cells:  # names beside them say where the files once were
        return cells
    names: _Files = [
        (path, kind or kind_of(path))
        for key, kind in _MEDIA_KEYS.items()
        if key in raw
        for path in _paths(raw, key)
    ]
    for key, value in raw.items():
        if key in _MEDIA_KEYS or not _OTHER_MEDIA.fullmatch(key):
            continue
        if value and isinstance(value, str | list | dict):
            raise InputError(
                f"has {key}={value!r}, which is not read; files are named by "
                f"{', '.join(_MEDIA_KEYS)}. Rename the key, or leave it out."
            )
    if names:
        return names
    others = [key for key in raw if FILE_NAME.fullmatch(key)]
    plain = [key for key in raw if _PATH.fullmatch(key) and kind_of(str(raw[key]))]
    return [(path, kind_of(path)) for key in others or plain for path in _paths(raw, key)]


def _kind_of_cell(column: str, cell: Cell) -> Media | None:
    """What kind of file a cell holds; None for a column that is something else."""
    by_name = next((kind for kind in Media if kind.value in column.lower()), None)
    return _MEDIA_KEYS.get(column) or kind_of(cell.name) or by_name


def _said_in_chat(said: list[tuple[Media, Any]], files: _Files) -> _Files:
    """The files of a chat: those that it names, or, where it names none, the row's."""
    named: _Files = [(path, kind) for kind, path in said if path is not None]
    if not named:
        return files
    if len(named) < len(said) or files:
        raise InputError(
            "names some files in its chat and others beside it. Name all of them in the chat, or "
            "none: then the row's files go there in order."
        )
    return named


def _part_of_file(row: Row, raw: dict[str, Any]) -> None:
    """Which part of its one clip an entry means."""
    offset = _seconds(raw, "offset")
    if offset:
        if len(row["audio_paths"]) != 1 or row["image_paths"]:
            raise InputError(
                f"begins at offset={raw['offset']!r} but names {len(row['audio_paths'])} clips and "
                f"{len(row['image_paths'])} pictures; it is of one clip. Leave it out."
            )
        row["offset_s"] = offset
    elif offset is None and raw.get("offset") is not None:
        raise InputError(f"has offset={raw['offset']!r}; accepted are seconds from 0. Correct it.")
    seconds = _seconds(raw, "duration")
    if seconds and len(row["audio_paths"]) == 1 and not row["image_paths"]:
        row["stated_s"] = seconds


def _seconds(raw: dict[str, Any], key: str) -> float | None:
    """A length of time, or None for anything else; JSON's numbers may be longer than a float."""
    value = raw.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value) if isinstance(value, str) else float(min(value, 1e9))
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _paths(raw: dict[str, Any], key: str) -> list[str]:
    value = raw.get(key)
    paths = value if isinstance(value, list) else [] if value is None else [value]
    if isinstance(value, str) and value.startswith('["'):  # a list in a cell of a CSV
        try:
            paths = json.loads(value)
        except ValueError:
            paths = [value]
    if not all(isinstance(path, str) and path and "\0" not in path for path in paths):
        raise InputError(
            f"has {key}={value!r}; accepted are a path and a list of paths. Correct it."
        )
    return paths


def _spelt(raw: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The first of the keys that the entry has, else the first."""
    return next((key for key in keys if raw.get(key) is not None), keys[0])


def _text(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float):
        return str(value)  # an id or a reference may well be a number
    raise InputError(f"has {key}={value!r}; accepted is a text. Put it in quotes.")


def _reference(raw: dict[str, Any], key: str) -> str | None:
    """The reference, or the first of several."""
    value = raw.get(key)
    if not isinstance(value, list):
        return _text(raw, key)
    if not all(isinstance(text, str) for text in value):
        raise InputError(
            f"has {key}={value!r}; accepted are a text and a list of texts. Put each in quotes."
        )
    return value[0] if value else None


def _nemo_task(raw: dict[str, Any]) -> str | None:
    name = raw.get("taskname")
    return _NEMO_TASKS.get(name, name) if isinstance(name, str) else None


def check_columns(names: Collection[str]) -> None:
    """Refuse a table none of whose columns says what is to be done."""
    known = {*_MEDIA_KEYS, *_CHAT, "prompt"}
    for name in names:
        if name in known or any(like.fullmatch(name) for like in (FILE_NAME, _PATH, _OTHER_MEDIA)):
            return
    raise InputError(
        f"has the columns {', '.join(names)}; none of them says what to work on. "
        f"{_HOW} Is its first line not a header?"
    )
