"""A manifest -> light rows, one an entry."""

import os
from collections.abc import Collection, Iterator
from glob import has_magic
from itertools import islice
from pathlib import Path

from gemma3n.errors import InputError
from stages.entry import FILE_NAME, check_columns, fill
from stages.lhotse import from_cut, is_cut
from stages.manifest_files import ending_of, entries
from stages.media import Media
from stages.remote import exists, is_url, local, name_of, sibling
from stages.row import Row, light_row

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")  # of a Hugging Face folder


def is_manifest(path: str | Path) -> bool:
    """Whether a path that somebody gives is to be read as a list of work."""
    path = str(path)
    if ending_of(path):
        return is_url(path) or has_magic(path) or Path(path).is_file()
    return metadata_of(path) is not None


def metadata_of(folder: str | Path) -> str | None:
    """The manifest that a folder has in the way of Hugging Face, in place of which it is given."""
    for name in METADATA:
        path = Path(folder, name)
        if path.is_file():
            some = islice(entries(str(path)), 10)
            said = next((entry.said for entry in some if isinstance(entry.said, dict)), {})
            if any(FILE_NAME.fullmatch(key) for key in said):
                return str(path)
    return None


def manifest_rows(path: str | Path, media: Collection[Media]) -> Iterator[Row]:
    """One row an entry, in order; an entry that cannot be used is a row with the error.

    A row's item is the entry's `id`, else its first media path as written, else its number.

    Args:
        path: of a file in one of the formats of `ENDINGS`, or a URL. Media paths count from its
            folder; they may be URLs too.
        media: kinds of files the job takes.
    """
    path = str(path)
    folder = _Folder(path)
    for place, number, said in entries(path, check_columns):
        row = light_row(str(number) if place else path.rpartition("/")[2])
        try:
            if isinstance(said, InputError):
                raise said
            fill(row, from_cut(said) if is_cut(said) else said, folder.path_of, media)
        except InputError as error:
            row["error"] = {"stage": "read", "message": f"{place} {error}".strip()}
        yield row


class _Folder:
    """Where the media of one manifest lie."""

    def __init__(self, manifest: str) -> None:
        self.manifest = manifest
        self.folder = os.path.dirname(name_of(manifest))  # noqa: PTH120
        self.is_url = is_url(manifest)
        self.root = Path(self.folder) if self.is_url else Path(self.folder).resolve()
        self.names_itself: bool | None = None  # whether paths at a URL do, once it is known

    def path_of(self, name: str) -> str:
        """Where a path leads: from the manifest's folder, or naming that folder first."""
        if is_url(name) or name.startswith("/"):
            return local(name)
        first, _, rest = name.partition("/")
        may_name_itself = rest and first == self.root.name
        if self.is_url:
            if may_name_itself and self.names_itself is None:  # a request a line would be too many
                self.names_itself = not exists(sibling(self.manifest, name))
            return sibling(self.manifest, rest if may_name_itself and self.names_itself else name)
        path = os.path.join(self.folder, name)  # noqa: PTH118
        if may_name_itself and not os.access(path, os.F_OK):
            return str(self.root.parent / name)
        return path
