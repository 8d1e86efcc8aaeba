"""A folder that gets its name only when all that belongs in it is written."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gemma3n.errors import SettingsError


def check_free(output: Path) -> None:
    """Refuse a folder that is in use.

    Raises:
        SettingsError: it exists, and is not empty.
    """
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise SettingsError(
            f"output='{output}' exists and is not an empty folder. Choose another name, or "
            "empty it."
        )


@contextmanager
def whole_folder(output: str | Path) -> Iterator[Path]:
    """A new folder to write to, which becomes `output` at the end; after an error nothing is left.

    Args:
        output: must not exist, or be an empty folder.

    Raises:
        SettingsError: `output` is taken or cannot be made.
    """
    output = Path(output)
    check_free(output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        beside = TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent)
    except OSError as error:
        raise SettingsError(
            f"output='{output}' cannot be made: {error.strerror}. Choose another folder."
        ) from error
    with beside as inside:
        partial = Path(inside, output.name)  # whose mode is as usual; `inside` is ours alone
        partial.mkdir()
        yield partial
        if output.exists():
            output.rmdir()
        partial.rename(output)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder in the place of an earlier one, which stays as it is until this one is whole.

    Args:
        folder: whose parents are made if need be. What a killed run left beside it is taken away.
    """
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
