"""The environment of other projects' engines: an interpreter with their libraries, not ours."""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.bench.decode import run_apart


def peers_python(folder: str) -> Path:
    """The interpreter of the peers' environment.

    Raises:
        SettingsError: there is none.
    """
    python = Path(folder) / "bin" / "python"
    if not python.exists():
        raise SettingsError(
            f"there are no peers in '{folder}'. Make their environment with `make peers`, or name "
            "its folder with peers_env=."
        )
    return python.absolute()


def run_peer(python: Path, module: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a module of ours says that it measured, in the peers' interpreter.

    A link to our package is all that it is lent: the path to it could bring our libraries as well.

    Raises:
        SettingsError: it failed.
    """
    with tempfile.TemporaryDirectory() as lent:
        package = Path(__file__).parents[1]
        (Path(lent) / package.name).symlink_to(package, target_is_directory=True)
        return run_apart(module, wanted, python, {**os.environ, "PYTHONPATH": lent})
