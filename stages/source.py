"""Folders, files, globs, URLs, manifests -> light rows: what there is to do, nothing opened."""

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from omegaconf import MISSING

from gemma3n.errors import InputError, SettingsError
from stages.folders import files_of, may_list, split_glob
from stages.manifest import is_manifest, manifest_rows, metadata_of
from stages.manifest_files import ENDINGS, ending_of
from stages.media import Media, accepted, kind_of, read_as
from stages.remote import is_glob, is_url, local, remote_files
from stages.row import Row, light_row
from stages.seen import Seen
from stages.setting import setting
from stages.stamp import stamp_of
from stages.stdin_list import listed_on_stdin

STDIN = "-"  # a list of paths there, one a line
_MANIFESTS = f"manifest ({' '.join(ENDINGS)})"


@dataclass
class SourceSettings:
    """What to read."""

    path: list[str] = setting(
        MISSING,
        "folders, files, globs, URLs, manifests (.jsonl .csv .parquet ...), or - (stdin)",
    )
    media: list[Media] = setting(
        [Media.audio, Media.image], "kinds of files the job takes: audio, image, or both"
    )
    limit: int | None = setting(None, "items to take, the first ones; by default all")
    recursive: bool = setting(True, "also look into the folders of a folder")
    split: bool = setting(
        False, "a row a segment of a long recording; false keeps a row's media together"
    )
    max_segment_s: float = setting(
        30.0, "seconds of sound that the model gets at once; less where a checkpoint takes less"
    )
    overlap_s: float = setting(
        2.0, "seconds that segments share on each side of a cut where there is no pause"
    )
    max_hours: float = setting(24.0, "hours that one recording may last")
    fps: float = setting(1.0, "frames a second of a video, fewer where it is long")
    max_frames: int = setting(32, "frames of one video, fewer where the context holds fewer")

    def __post_init__(self) -> None:
        for name, least in (
            ("max_segment_s", 1.0),
            ("overlap_s", 0.0),
            ("max_hours", 0.0),
            ("fps", 0.001),
            ("max_frames", 1),
        ):
            if not getattr(self, name) >= least:  # also what is no number
                raise SettingsError(
                    f"source.{name}={getattr(self, name)}; it must be at least {least:g}. Raise it."
                )
        if self.limit is not None and self.limit < 1:
            raise SettingsError(
                f"source.limit={self.limit}; at least 1, or null for all. Raise it."
            )
        if Media.video in self.media:
            raise SettingsError(
                "source.media names video, which is taken by every job that takes audio or image: "
                "its sound, its frames, or both. Name those."
            )


def list_items(settings: SourceSettings, skipped: Counter[str] | None = None) -> Iterator[Row]:
    """List what there is to do, in a fixed order, one folder in memory at a time.

    Args:
        settings: where to look. In folders and globs hidden files are left out, and kinds of files
            that the job does not take are skipped. A file that is named itself, or by a manifest,
            is never skipped: if it cannot be used, its row carries the error.
        skipped: is given the number of skipped files by extension, as the listing goes on.

    Returns:
        Rows without heavy columns; each has an `item` of its own, its `place` and its `stamp`.

    Raises:
        SettingsError: a path does not exist (at once), or there was nothing to do (at the end).
    """
    for path in map(local, settings.path):
        if is_url(path):
            _check_url(path, settings)
        elif path != STDIN and not (os.access(path, os.F_OK) or glob.has_magic(path)):
            raise SettingsError(
                f"source '{path}' does not exist. Give a folder, a file, a glob, a URL, a "
                f"{_MANIFESTS} or - for a list on stdin; a path counts from the folder the command "
                "runs in."
            )
    return _numbered(settings, Counter() if skipped is None else skipped)


def absolute_source(path: str) -> str:
    """The path of a source, so that it means the same in any working directory."""
    return path if path == STDIN or is_url(path) else str(Path(path).absolute())


def _numbered(settings: SourceSettings, skipped: Counter[str]) -> Iterator[Row]:
    """Every row with its place and stamp; a second row of the same item becomes `item#2`."""
    seen, place = Seen(), -1
    for place, row in enumerate(islice(_rows(settings, skipped), settings.limit)):
        row["item"] = seen.distinct(row["item"])
        row["place"] = place
        row["stamp"] = row["stamp"] or stamp_of(row)
        yield row
    if place < 0:
        others = ", ".join(
            f"{count} {end or 'without extension'}" for end, count in skipped.items()
        )
        raise SettingsError(
            f"nothing to do in {settings.path}: looked for {accepted(settings.media)}, found "
            f"{f'other files only ({others})' if others else 'no files'}. "
            "Point source.path at such files, or use the job that takes yours."
        )


def _rows(settings: SourceSettings, skipped: Counter[str]) -> Iterator[Row]:
    given = [local(path) for path in settings.path]
    base = _common_folder([_normal(p) for p in given if p != STDIN and not is_url(p)])
    listed = Seen() if len(given) > 1 else None  # a file may be given itself and be in a folder
    for path in given:
        if path == STDIN:
            for name in listed_on_stdin():
                where = name if is_url(name) else os.path.normpath(name)
                file = where if is_url(where) else str(Path(where).absolute())
                yield _file_row(_readable(where), local(file), settings.media)
        elif is_url(path):
            yield from _remote_rows(path, settings, skipped)
        else:
            yield from _local_rows(_normal(path), base, settings, skipped, listed)


def _local_rows(
    path: Path, base: Path, settings: SourceSettings, skipped: Counter[str], listed: Seen | None
) -> Iterator[Row]:
    if is_manifest(path):
        for manifest in _manifests(path):
            yield from manifest_rows(manifest, settings.media)
        return
    for file in files_of(path, settings.recursive):
        if listed is not None and not listed.add(str(file)):
            continue
        item = _readable(file.relative_to(base).as_posix())
        if file == path or read_as(kind_of(file), settings.media) or file.is_dir():
            yield _file_row(item, str(file), settings.media)
        else:
            skipped[file.suffix.lower()] += 1


def _remote_rows(url: str, settings: SourceSettings, skipped: Counter[str]) -> Iterator[Row]:
    if ending_of(url) and not is_glob(url):
        yield from manifest_rows(url, settings.media)
        return
    try:
        for file in remote_files(url, settings.recursive):
            if ending_of(url):
                yield from manifest_rows(file.url, settings.media)
            elif file.url == url or read_as(kind_of(file.url), settings.media):
                row = _file_row(file.name, file.url, settings.media)
                row["stamp"] = stamp_of(row, file.stamp)
                yield row
            else:
                skipped[Path(file.name).suffix.lower()] += 1
    except (InputError, OSError) as error:  # in the midst: at the door it was there
        yield light_row(url, error=f"'{url}' cannot be listed to its end: {error}. Run it again.")


def _check_url(url: str, settings: SourceSettings) -> None:
    """Refuse what cannot be reached now, or is not there."""
    try:
        next(remote_files(url, settings.recursive), None)
    except InputError as error:
        raise SettingsError(f"source: {error}") from error
    except OSError as error:
        why = "it does not exist" if isinstance(error, FileNotFoundError) else str(error)
        raise SettingsError(f"source '{url}' cannot be used: {why}. Correct the URL.") from error


def _file_row(item: str, path: str, media: Collection[Media]) -> Row:
    """The row of one file, with the error if its name says that it cannot be used."""
    kind = read_as(kind_of(path), media)
    if not is_url(path) and Path(path).is_dir():
        if may_list(Path(path)):
            return light_row(
                item,
                error=f"'{path}' is a folder, where a file is expected; there is nothing in it to "
                "do. Give the folder itself, or take it away.",
            )
        return light_row(item, error=f"folder '{path}' may not be listed. Let it be read.")
    match kind:
        case Media.audio:
            return light_row(item, audio_paths=[path])
        case Media.image:
            return light_row(item, image_paths=[path])
    hint = ", or, if it is a folder on the web, end it with '/'" if is_url(path) else ""
    return light_row(
        item,
        error=f"'{path}' is of a kind that this job does not take; accepted are "
        f"{accepted(media)}. Convert it, or leave it out{hint}.",
    )


def _manifests(path: Path) -> Iterator[str]:
    """The files of a manifest: of a glob all that fit, of a folder the one that tells of it."""
    if path.is_dir():
        yield metadata_of(path) or ""
    else:
        yield from (str(file) for file in files_of(path, recursive=False))


def _normal(path: str) -> Path:
    return Path(os.path.normpath(Path(path).absolute()))


def _common_folder(paths: list[Path]) -> Path:
    """The deepest folder that holds all that is given; items are named from it."""
    folders = []
    for path in paths:
        if path.is_dir():
            folders.append(path)
        elif not path.exists():
            folders.append(split_glob(path)[0])
        elif not is_manifest(path):
            folders.append(path.parent)
    return Path(os.path.commonpath(folders or [Path.cwd()]))


def _readable(path: str) -> str:
    """A relative path as text, whatever bytes its names are made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
