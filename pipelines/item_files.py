"""Files that are one an item: written below the run folder, and known again to be taken away."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from pipelines.file_names import FileNames
from stages.write import PARTS, Format, replacing

FILE_FORMATS = (Format.txt, Format.srt, Format.vtt)
FOLDERS = tuple(kind.value for kind in FILE_FORMATS)  # of the run folder; also the files' endings
_OURS = "files.txt"  # beside the parts: those files, a line each


class ItemFiles:
    """`talks/a.wav` -> `txt/talks/a.txt`, `srt/talks/a.srt`, `vtt/talks/a.vtt`."""

    def __init__(self, folder: Path, items: Iterable[str]) -> None:
        """Choose a name for every item; files that an earlier assembly wrote are to be gone then.

        Args:
            folder: of the run.
            items: all there are, in order.
        """
        self._folder = folder
        there = [name for name in FOLDERS if (folder / name).is_dir()]  # with somebody else's

        def exists(name: str) -> bool:
            return any(os.path.lexists(folder / above / name) for above in there)

        self._names = FileNames(items, FOLDERS, exists)

    def close(self) -> None:
        """Let go of the names."""
        self._names.close()

    def announce(self, files: Iterable[tuple[str, Format]]) -> None:
        """Note on disk which files are to come, so that they are ours even if we are ended.

        Args:
            files: item and format of each.
        """
        (self._folder / PARTS).mkdir(exist_ok=True)
        with replacing(self._folder / PARTS / _OURS) as listed:
            for item, kind in files:
                listed.write(f"{self._name(item, kind)}\n".encode())

    def write(self, item: str, kind: Format, text: str) -> None:
        """Write one that was announced: UTF-8, without a mark at its beginning."""
        file = self._folder / self._name(item, kind)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode())

    def _name(self, item: str, kind: Format) -> str:
        return f"{kind.value}/{self._names[item]}.{kind.value}"


def clear_files(folder: Path) -> None:
    """Take away the files that an earlier assembly wrote, and folders that they leave empty.

    Args:
        folder: of the run.
    """
    listed = folder / PARTS / _OURS
    for name in _listed(listed):
        with suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):  # others did that
            (folder / name).unlink()
        for above in name.parents[:-1]:
            with suppress(OSError):  # it holds something else
                (folder / above).rmdir()
    listed.unlink(missing_ok=True)


def _listed(file: Path) -> Iterator[PurePosixPath]:
    if not file.is_file():
        return
    with file.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            name = PurePosixPath(line.rstrip("\n"))
            # The list may come from anywhere with the rest of a run folder.
            if len(name.parts) > 1 and name.parts[0] in FOLDERS and ".." not in name.parts:
                yield name
