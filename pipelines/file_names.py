"""Items -> names of their files: below one folder, each its own, whatever the items are called."""

import unicodedata
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any

from stages.media import kind_of
from stages.scratch import scratch_database

_LONGEST_NAME = 200  # bytes; file systems allow 255, and endings come on top
_LONGEST_PATH = 1000  # bytes; systems allow 4096 and less, and the run folder comes before


class FileNames:
    """A name for each item, without its ending.

    `talks/a.wav` -> `talks/a`, or `talks/a.wav` where another item is called `talks/a`. Only an
    index on disk grows with the items.
    """

    def __init__(
        self,
        items: Iterable[str],
        endings: Iterable[str],
        exists: Callable[[str], bool] = lambda name: False,
    ) -> None:
        """Choose the names.

        Args:
            items: all there are, in a fixed order, since the first gets the better name.
            endings: that names may get, such as `txt`; an item has one name with all of them.
            exists: whether a name is somebody else's.
        """
        self._endings = tuple(endings)
        self._exists = exists
        self._index = scratch_database()
        self._index.executescript(_TABLES)
        for item in items:
            self._list(item)
        for number, path, stem, is_shared in self._index.execute(_IN_ORDER):
            name = self._free(path if is_shared else stem)
            self._index.execute("INSERT INTO names VALUES (?, ?)", (number, name))

    def __getitem__(self, item: str) -> str:
        """The name of an item; `KeyError` if it was not among them."""
        found = self._find("SELECT name FROM items JOIN names USING (number) WHERE item = ?", item)
        if found is None:
            raise KeyError(item)
        name: str = found[0]
        return name

    def close(self) -> None:
        """Let go of the index."""
        self._index.close()

    def _list(self, item: str) -> None:
        path = _safe_path(item)
        stem = _stem(path)
        self._index.execute(
            "INSERT INTO items (item, path, stem, folded) VALUES (?, ?, ?, ?)",
            (item, path, stem, _folded(stem)),
        )
        # A folder may already be called what a file would be.
        above = ((_folded(str(folder)),) for folder in PurePosixPath(path).parents)
        self._index.executemany("INSERT OR IGNORE INTO folders VALUES (?)", above)

    def _free(self, base: str) -> str:
        """The name itself, or else the first with a number, that nobody has."""
        tried = self._find("SELECT tried FROM taken WHERE name = ?", _folded(base))
        number = 1 + (tried[0] if tried else 0)
        while self._is_taken(name := base if number == 1 else f"{base}-{number}"):
            number += 1
        self._index.execute("INSERT OR REPLACE INTO taken VALUES (?, ?)", (_folded(base), number))
        self._index.execute("INSERT OR IGNORE INTO taken VALUES (?, 1)", (_folded(name),))
        return name

    def _is_taken(self, name: str) -> bool:
        files = [f"{name}.{ending}" for ending in self._endings]
        return (
            self._find("SELECT 1 FROM taken WHERE name = ?", _folded(name)) is not None
            or any(self._find("SELECT 1 FROM folders WHERE name = ?", _folded(f)) for f in files)
            or any(map(self._exists, files))
        )

    def _find(self, select: str, value: str) -> Any:
        return self._index.execute(select, (value,)).fetchone()


_TABLES = """
CREATE TABLE items (
    number INTEGER PRIMARY KEY, item TEXT UNIQUE, path TEXT, stem TEXT, folded TEXT
);
CREATE TABLE folders (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE taken (name TEXT PRIMARY KEY, tried INTEGER) WITHOUT ROWID; -- up to which number
CREATE TABLE names (number INTEGER PRIMARY KEY, name TEXT);
"""

_IN_ORDER = """
SELECT number, path, stem, folded IN (
    SELECT folded FROM items GROUP BY folded HAVING count(*) > 1
) FROM items ORDER BY number
"""


def _stem(path: str) -> str:
    """Without the extension of a file that we read; other dots are part of a name."""
    return path.rsplit(".", 1)[0] if kind_of(path) else path


def _safe_path(item: str) -> str:
    path = "/".join(_safe(part) for part in item.split("/"))
    return path if len(path.encode()) <= _LONGEST_PATH else _cut(path.replace("/", "_"))


def _safe(part: str) -> str:
    """One name of a path as a name that means nothing to a file system."""
    name = _cut("".join(c if c.isprintable() and c not in '\\:*?"<>|' else "_" for c in part))
    return name if name.strip(". ") else "_" * max(1, len(name))


def _cut(name: str) -> str:
    return name.encode()[:_LONGEST_NAME].decode(errors="ignore")


def _folded(name: str) -> str:
    """The same for names that some file system takes for one: other case, other accents."""
    return unicodedata.normalize("NFC", name.casefold())
