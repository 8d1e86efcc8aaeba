"""A repository on the Hugging Face hub -> its files, in the cache here that other tools share.

huggingface_hub does the work. Files come one by one and by name: what describes a checkpoint and
the safetensors that are asked for, never pickles, code or other formats. Nothing comes twice: what
is whole in the cache is used as it is, and of a broken download the files that were whole.
"""

import fnmatch
import logging
import os
import re
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from gemma3n.errors import SettingsError
from gemma3n.hub_errors import UnreachableError, asked, explained, lacks
from gemma3n.readable import bytes_text

logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
_CONFIG = "config.json"
_BESIDE = ("preprocessor_config.json", "tokenizer.model", INDEX)  # not every checkpoint has all
_MAIN = "main"
# A part that begins or ends with a dot or a dash is a folder (`../x`, `./x`) or no name there.
_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_NAME = re.compile(rf"({_PART}/{_PART})(?:@((?!.*\.\.)\w[\w./-]*))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """A repository, and which of its states: a branch, a tag, or a commit."""

    id: str  # owner/name
    revision: str = _MAIN

    @property
    def is_pinned(self) -> bool:
        """Whether it will be the same tomorrow."""
        return _COMMIT.fullmatch(self.revision) is not None

    def __str__(self) -> str:
        """As a user writes it."""
        return self.id if self.revision == _MAIN else f"{self.id}@{self.revision}"


def repository(name: str | Path) -> Repository | None:
    """The repository that a name stands for, `owner/name` or `owner/name@revision`.

    None if it is the path of something here, or cannot be the name of a repository. Asks nobody.
    """
    match = None if isinstance(name, Path) else _NAME.fullmatch(name)
    # os.path: Path.exists raises on a name that is too long.
    if match is None or os.path.lexists(name):
        return None
    return Repository(match[1], match[2] or _MAIN)


def pin(repository: Repository) -> Repository:
    """The same at the commit that its revision means now.

    Brings its config.json, by which the cache remembers the commit: where the hub is out of reach,
    it is the one that the revision meant last.

    Raises:
        SettingsError: huggingface_hub is not installed, or the hub does not give the file.
    """
    if repository.is_pinned:
        return repository
    hub = _library(repository)
    if _cached(hub, repository, _CONFIG) is None:
        # It fails at once where there is no network; a download tries for half a minute.
        _files(hub, repository)
    with explained(repository.id, repository.revision):
        try:
            path = hub.hf_hub_download(repository.id, _CONFIG, revision=repository.revision)
        except hub.errors.RemoteEntryNotFoundError as error:
            raise lacks(repository.id, _CONFIG) from error
    pinned = replace(repository, revision=Path(path).parent.name)
    logger.info("%s is now %s", repository, pinned)
    return pinned


def describe(repository: Repository) -> Path:
    """Bring what tells about a checkpoint, all but its weights, and say which folder it is in.

    Raises:
        SettingsError: as `pin` does.
    """
    pinned = pin(repository)
    bring(pinned, [_CONFIG], optional=_BESIDE)
    return Path(str(_cached(_library(pinned), pinned, _CONFIG))).parent


def bring(pinned: Repository, files: Collection[str], optional: Sequence[str] = ()) -> None:
    """Bring files that are not in the cache yet; asks nobody if all of them are.

    Args:
        pinned: at a commit.
        files: that must come.
        optional: that come if the repository has them and the hub can be reached.

    Raises:
        SettingsError: one of `files` is not in the repository or does not come, or the disk is too
            small for them.
    """
    hub = _library(pinned)
    known = {file: _cached(hub, pinned, file) for file in (*files, *optional)}
    missing = [file for file, path in known.items() if path is None]
    for file in files:
        if file not in missing and not isinstance(known[file], str):
            raise lacks(pinned.id, file)
    if not missing:
        return
    try:
        sizes = _files(hub, pinned)
    except UnreachableError:
        if set(missing) & set(files):
            raise
        return
    _check_space(hub, pinned, sum(sizes.get(file, 0) for file in missing))
    with explained(pinned.id, pinned.revision):
        for file in missing:
            try:
                hub.hf_hub_download(pinned.id, file, revision=pinned.revision)
            except hub.errors.RemoteEntryNotFoundError as error:
                if file in files:
                    raise lacks(pinned.id, file) from error


def bring_matching(pinned: Repository, patterns: Collection[str]) -> None:
    """Bring the repository's outermost files that match a pattern, if the hub can be reached.

    Raises:
        SettingsError: as `bring` does.
    """
    try:
        files = _files(_library(pinned), pinned)
    except UnreachableError:
        return
    outermost = [file for file in files if "/" not in file]
    bring(pinned, [f for f in outermost if any(fnmatch.fnmatch(f, p) for p in patterns)])


def header(pinned: Repository, file: str) -> dict[str, Any]:
    """The header of a safetensors file that stays on the hub, as the file holds it.

    Raises:
        SettingsError: the hub does not give it, or it is none.
    """
    hub = _library(pinned)
    with explained(pinned.id, pinned.revision):
        try:
            found = hub.HfApi().parse_safetensors_file_metadata(
                pinned.id, file, revision=pinned.revision
            )
        except hub.errors.RemoteEntryNotFoundError as error:
            raise lacks(pinned.id, file) from error
        except hub.errors.SafetensorsParsingError as error:
            raise SettingsError(
                f"'{file}' of '{pinned.id}' is not a safetensors file. "
                "Use the repository of the released checkpoint."
            ) from error
    return {
        name: {"dtype": one.dtype, "shape": one.shape, "data_offsets": one.data_offsets}
        for name, one in found.tensors.items()
    }


def _library(repository: Repository) -> ModuleType:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors  # noqa: F401
    except ImportError as error:
        raise SettingsError(
            f"'{repository}' is no folder here, and names on the Hugging Face hub need "
            "huggingface_hub, which is not installed. Correct the path, or "
            "pip install gemma3n-pipelines[hub]."
        ) from error
    # Not through the environment: another package may have imported the library long ago.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    return huggingface_hub


def _cached(hub: ModuleType, repository: Repository, file: str) -> Any:
    """Path of a file in the cache; None if nothing is known of it; else there is no such file."""
    with explained(repository.id, repository.revision):
        return hub.try_to_load_from_cache(repository.id, file, revision=repository.revision)


def _files(hub: ModuleType, repository: Repository) -> dict[str, int]:
    """Bytes of every file of the repository, in one question to the hub, asked once."""
    with asked(repository.id, repository.revision):
        info = hub.HfApi().model_info(
            repository.id,
            revision=repository.revision,
            files_metadata=True,
            timeout=hub.constants.HF_HUB_ETAG_TIMEOUT,
        )
    return {file.rfilename: file.size or 0 for file in info.siblings or []}


def _check_space(hub: ModuleType, repository: Repository, size: int) -> None:
    cache = Path(hub.constants.HF_HUB_CACHE)
    there = next(folder for folder in (cache, *cache.absolute().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if size > free:
        raise SettingsError(
            f"'{repository}' needs {bytes_text(size)} more in '{cache}', and its disk has "
            f"{bytes_text(free)} free. Make room, or set HF_HOME to a folder on a larger disk."
        )
    if size:
        logger.info("%s: %s come to '%s'", repository, bytes_text(size), cache)
