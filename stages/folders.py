"""Folders and globs of this machine -> files, in a fixed order, one folder in memory at a time."""

import glob
import os
from collections.abc import Iterator
from contextlib import closing
from fnmatch import fnmatchcase
from itertools import chain, islice
from pathlib import Path

from stages.media import kind_of
from stages.scratch import scratch_database

_IN_MEMORY = 50_000  # names of one folder


def files_of(path: Path, recursive: bool) -> Iterator[Path]:
    """Files that a path stands for, in order.

    A folder that may not be listed stands for itself, and so does an empty one that is called like
    a file (`x.wav`): somebody should hear of it.

    Args:
        path: a file, a folder or a glob.
        recursive: also look into the folders of a folder.
    """
    if path.is_dir():
        return _walk(path, recursive)
    return iter([path]) if path.exists() else _matches(*split_glob(path), recursive)


def _walk(folder: Path, recursive: bool, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    if not may_list(folder):
        yield folder
    above = (*above, folder.resolve())
    for entry in _entries(folder):
        if not entry.is_dir():
            yield entry
        elif recursive and entry.resolve() not in above:  # else a link to above would never end
            is_empty = True
            for file in _walk(entry, recursive, above):
                is_empty = False
                yield file
            if is_empty and kind_of(entry):
                yield entry


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


def _entries(folder: Path, hidden: bool = False) -> Iterator[Path]:
    """What a folder holds, by name; nothing if it may not be listed."""
    if may_list(folder):
        for name in _names(folder):
            if hidden or not name.startswith("."):
                yield folder / name


def _names(folder: Path) -> Iterator[str]:
    """The names in a folder, in order; many of them are sorted on disk."""
    with os.scandir(folder) as entries:
        some = sorted(entry.name for entry in islice(entries, _IN_MEMORY))
        if len(some) < _IN_MEMORY:
            yield from some
            return
        with closing(scratch_database()) as names:
            names.execute("CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID")
            every = chain(some, (entry.name for entry in entries))
            rows = ((os.fsencode(name),) for name in every)
            names.executemany("INSERT OR IGNORE INTO names VALUES (?)", rows)
            for (name,) in names.execute("SELECT name FROM names ORDER BY name"):
                yield os.fsdecode(name)


def may_list(folder: Path) -> bool:
    """Whether we have the right to see what a folder holds."""
    return os.access(folder, os.R_OK | os.X_OK)


def split_glob(path: Path) -> tuple[Path, list[str]]:
    """The folder that a glob of this machine begins in, and the rest of it, name by name."""
    pattern: list[str] = []
    while glob.has_magic(str(path)) and not path.exists():
        if [path.name, *pattern[:1]] != ["**", "**"]:
            pattern.insert(0, path.name)
        path = path.parent
    return path, pattern
