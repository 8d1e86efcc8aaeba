"""Folders, files, globs and manifests -> light rows: what there is to do, nothing opened yet."""

import glob
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from omegaconf import MISSING

from gemma3n.errors import SettingsError
from stages.manifest import is_manifest, manifest_rows
from stages.media import Media, accepted, kind_of
from stages.row import Row, light_row
from stages.setting import setting


@dataclass
class SourceSettings:
    """What to read."""

    path: list[str] = setting(MISSING, "folders, files, globs, or manifests (.jsonl)")
    media: list[Media] = setting(
        [Media.audio, Media.image], "kinds of files the job takes: audio, image, or both"
    )
    recursive: bool = setting(True, "also look into the folders of a folder")


def list_items(settings: SourceSettings, skipped: Counter[str] | None = None) -> Iterator[Row]:
    """List what there is to do, in a fixed order, one folder in memory at a time.

    Args:
        settings: where to look. In folders and globs hidden files are left out, and kinds of files
            that the job does not take are skipped. A file that is named itself, or by a manifest,
            is never skipped: if it cannot be used, its row carries the error.
        skipped: is given the number of skipped files by extension, as the listing goes on.

    Returns:
        Rows without heavy columns; each has an `item` of its own.

    Raises:
        SettingsError: a path does not exist (at once), or there was nothing to do (at the end).
    """
    for path in settings.path:
        if not (os.access(path, os.F_OK) or glob.has_magic(path)):
            raise SettingsError(
                f"source '{path}' does not exist. Give a folder, a file, a glob or a manifest "
                "(.jsonl); a path counts from the folder the command runs in."
            )
    return _distinct(settings, Counter() if skipped is None else skipped)


def _distinct(settings: SourceSettings, skipped: Counter[str]) -> Iterator[Row]:
    """Every row with its place; a second row of the same item becomes `item#2`."""
    seen: set[str] = set()
    for place, row in enumerate(_rows(settings, skipped)):
        item, times = row["item"], 1
        while row["item"] in seen:
            times += 1
            row["item"] = f"{item}#{times}"
        seen.add(row["item"])
        row["place"] = place
        yield row
    if not seen:
        others = ", ".join(
            f"{count} {end or 'without extension'}" for end, count in skipped.items()
        )
        raise SettingsError(
            f"nothing to do in {settings.path}: looked for {accepted(settings.media)}, found "
            f"{f'other files only ({others})' if others else 'no files'}. "
            "Point source.path at such files, or use the job that takes yours."
        )


def _rows(settings: SourceSettings, skipped: Counter[str]) -> Iterator[Row]:
    paths = [Path(os.path.normpath(Path(path).absolute())) for path in settings.path]
    base = _common_folder(paths)
    listed: set[Path] = set()  # a file may be given itself and be in a folder that is given
    for path in paths:
        if is_manifest(path):
            yield from manifest_rows(path, settings.media)
            continue
        for file in _files(path, settings.recursive):
            if file in listed:
                continue
            if len(paths) > 1:
                listed.add(file)
            item = _readable(file.relative_to(base))
            kind = kind_of(file)
            if kind is Media.audio and kind in settings.media:
                yield light_row(item, audio_paths=[str(file)])
            elif kind is Media.image and kind in settings.media:
                yield light_row(item, image_paths=[str(file)])
            elif file.is_dir():
                yield light_row(item, error=f"folder '{file}' may not be listed. Let it be read.")
            elif file == path:
                yield light_row(
                    item,
                    error=f"'{file}' is of a kind that this job does not take; accepted are "
                    f"{accepted(settings.media)}. Convert it, or leave it out.",
                )
            else:
                skipped[file.suffix.lower()] += 1


def _files(path: Path, recursive: bool) -> Iterator[Path]:
    """Files that a path stands for; a folder that may not be listed stands for itself."""
    if path.is_dir():
        return _walk(path, recursive)
    return iter([path]) if path.exists() else _matches(*_split_glob(path), recursive)


def _walk(folder: Path, recursive: bool, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    if not _may_list(folder):
        yield folder
    above = (*above, folder.resolve())
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif recursive and entry.resolve() not in above:  # else a link to above would never end
            yield from _walk(entry, recursive, above)


def _matches(folder: Path, pattern: list[str], recursive: bool) -> Iterator[Path]:
    """What fits a glob below `folder`, in order and streaming, which `Path.glob` is not."""
    name, *rest = pattern
    if name == "**":
        yield from _matches(folder, rest or ["*"], recursive=False)
        for entry in _entries(folder):
            if entry.is_dir() and not entry.is_symlink():
                yield from _matches(entry, pattern, recursive)
        return
    for entry in _entries(folder, hidden=name.startswith(".")):
        if not fnmatchcase(entry.name, name):
            continue
        if not entry.is_dir():
            if not rest:
                yield entry
        elif rest:
            yield from _matches(entry, rest, recursive)
        elif recursive:
            yield from _walk(entry, recursive)


def _entries(folder: Path, hidden: bool = False) -> list[Path]:
    """What a folder holds, by name; nothing if it may not be listed."""
    found = sorted(folder.iterdir(), key=lambda p: p.name) if _may_list(folder) else []
    return [entry for entry in found if hidden or not entry.name.startswith(".")]


def _may_list(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _split_glob(path: Path) -> tuple[Path, list[str]]:
    """The folder that a glob begins in, and the rest of it, name by name."""
    pattern: list[str] = []
    while glob.has_magic(str(path)) and not path.exists():
        if [path.name, *pattern[:1]] != ["**", "**"]:
            pattern.insert(0, path.name)
        path = path.parent
    return path, pattern


def _common_folder(paths: list[Path]) -> Path:
    """The deepest folder that holds all that is given; items are named from it."""
    folders = []
    for path in paths:
        if path.is_dir():
            folders.append(path)
        elif not path.exists():
            folders.append(_split_glob(path)[0])
        elif not is_manifest(path):
            folders.append(path.parent)
    return Path(os.path.commonpath(folders or [Path.cwd()]))


def _readable(path: Path) -> str:
    """A relative path as text, whatever bytes its names are made of."""
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")
