"""URLs of sources -> file systems and the files in them, through fsspec: only where one is named.

A URL may be chained as fsspec does it: `zip://talks/a.wav::s3://bucket/talks.zip`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gemma3n.errors import InputError, reason

_URL = re.compile(r"([a-z][a-z0-9+.-]+::)*[a-z][a-z0-9+.-]+://", re.I)
_MAGIC = re.compile(r"[*?[]")
# What the drivers of object stores and archives call a version of a file.
_VERSION = ("etag", "ETag", "md5Hash", "md5", "mtime", "LastModified", "created", "CRC")


@dataclass
class RemoteFile:
    """One file of a listing."""

    url: str
    name: str  # from where the listing begins, `/` between folders
    stamp: str  # another one means that the file has changed


def is_url(path: str) -> bool:
    """Whether a path is a URL, and no name on this machine."""
    return _URL.match(path) is not None


def local(path: str) -> str:
    """The path itself, without the `file://` of one that is on this machine."""
    return path[len("file://") :] if path.lower().startswith("file://") else path


def name_of(path: str) -> str:
    """The path itself; of a URL that of the file it leads to, without what follows a `?`."""
    if not is_url(path):
        return path
    _, inner, _ = _parts(path)
    return inner.partition("?")[0] if _is_web(path) else inner


def is_glob(url: str) -> bool:
    """Whether a URL stands for all that fits it: `*`, `?`, `[` do, on the web only `*`."""
    return bool(_split_glob(url)[1])


def sibling(url: str, name: str) -> str:
    """The URL of a file that is named by another one, such as a manifest, beside it."""
    before, path, after = _parts(url)
    folder = path.rpartition("/")[0]
    return f"{before}{folder}/{name}{after}" if folder else f"{before}{name}{after}"


def file_system(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path in it.

    Raises:
        InputError: no such protocol, or its driver is not installed.
        OSError: an archive on the way cannot be opened.
    """
    protocol = url.partition("://")[0]
    try:
        from fsspec.core import url_to_fs

        before, path, after = _parts(url)
        return (_chained(before + after), path) if after else url_to_fs(url)
    except ImportError as error:
        raise InputError(
            f"'{url}' cannot be opened: {str(error).rstrip('.')}. "
            "Install gemma3n-pipelines[remote], and the driver of this protocol beside it."
        ) from error
    except ValueError as error:
        raise InputError(
            f"'{url}' cannot be opened: '{protocol}' is a protocol that fsspec does not know "
            f"({error}). Correct the address, or copy the files to this machine."
        ) from error
    except OSError:
        raise
    except Exception as error:  # what a driver raises is its own affair
        raise OSError(reason(error)) from error


@lru_cache(16)
def _chained(url: str) -> Any:
    """A chain's file system, such as an archive, kept as long as files in it are open."""
    from fsspec.core import url_to_fs

    return url_to_fs(url)[0]


def exists(url: str) -> bool:
    """Whether there is a file; what cannot be asked has none."""
    try:
        system, path = file_system(url)
        return bool(system.exists(path))
    except (InputError, OSError):
        return False


def remote_files(url: str, recursive: bool) -> Iterator[RemoteFile]:
    """Files that a URL stands for, in order, one folder in memory at a time; of a glob all at once.

    Args:
        url: a file, a folder, or a glob. Hidden files are left out, unless a glob asks for them.
        recursive: also look into the folders of a folder.

    Raises:
        InputError: the file system cannot be used.
        OSError: nothing is there, or it cannot be reached.
    """
    begin, pattern = _split_glob(url)
    hidden = pattern.startswith(".") or "/." in pattern
    system, root = file_system(begin)
    try:
        if pattern:
            found = system.glob(f"{root.rstrip('/')}/{pattern}", detail=True)
            entries = [info for _, info in sorted(found.items())]
        elif url.endswith("/") or system.info(root)["type"] == "directory":
            entries = _entries(system, root)
        else:
            yield RemoteFile(url, name_of(url).rpartition("/")[2], _stamp(system.info(root)))
            return
        for info in _below(system, entries, recursive):
            name = info["name"].strip("/")[len(root.strip("/")) :].strip("/")
            if "/." in f"/{name}" and not hidden:
                continue
            yield RemoteFile(_inside(begin, name), name, _stamp(info))
    except OSError:
        raise
    except Exception as error:  # what a driver raises is its own affair
        raise OSError(reason(error)) from error


def _below(system: Any, entries: list[dict[str, Any]], recursive: bool) -> Iterator[dict[str, Any]]:
    for info in entries:
        if info["type"] != "directory":
            yield info
        elif recursive:
            yield from _below(system, _entries(system, info["name"]), recursive)


def _entries(system: Any, folder: str) -> list[dict[str, Any]]:
    """What a folder holds, by name, without the folder itself, which some drivers list too."""
    found = sorted(system.ls(folder, detail=True), key=lambda info: info["name"])
    return [info for info in found if info["name"].strip("/") != folder.strip("/")]


def _parts(url: str) -> tuple[str, str, str]:
    """A URL up to the path that it leads to, that path, and the rest of a chain."""
    links = url.split("::")
    first = next(number for number, link in enumerate(links) if "://" in link)
    protocol, _, path = links[first].partition("://")
    before = "::".join([*links[:first], f"{protocol}://"])
    return before, path, "".join(f"::{link}" for link in links[first + 1 :])


def _split_glob(url: str) -> tuple[str, str]:
    """The folder that a glob begins in, and the rest of its path."""
    before, path, after = _parts(url)
    magic = re.search(r"\*", path) if _is_web(url) else _MAGIC.search(path)
    if magic is None:
        return url, ""
    folder, slash, _ = path[: magic.start()].rpartition("/")
    return f"{before}{folder}{after}", path[len(folder + slash) :]


def _inside(folder: str, name: str) -> str:
    before, path, after = _parts(folder)
    path = path and f"{path.rstrip('/')}/"
    return f"{before}{path}{name}{after}"


def _is_web(url: str) -> bool:
    return _parts(url)[0].rpartition("::")[2].lower() in ("http://", "https://")


def _stamp(info: dict[str, Any]) -> str:
    return ":".join(str(info[key]) for key in ("size", *_VERSION) if info.get(key) is not None)
