"""A checkpoint folder that is made from another: whole, or not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from gemma3n import hub
from gemma3n.errors import SettingsError

_COMPANIONS = ("*.model", "*.json", "*.jinja", "*.txt", "*.md")  # what belongs to a checkpoint


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
def new_checkpoint(output: Path, source: Path, name: str | Path) -> Iterator[Path]:
    """A folder to write config and weights to; it gets its name when the block ends well.

    Args:
        output: its name then; free.
        source: folder of the checkpoint that it is made from, whose tokenizer and so on come along.
        name: of that checkpoint, see `named.py`.

    Raises:
        SettingsError: `output` cannot be made.
    """
    if (repository := hub.repository(name)) is not None:
        hub.bring_matching(repository, _COMPANIONS)
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
        _copy_companions(source, partial)
        yield partial
        if output.exists():
            output.rmdir()
        partial.rename(output)


def _copy_companions(source: Path, target: Path) -> None:
    for pattern in _COMPANIONS:
        for path in source.glob(pattern):
            if path.name not in ("config.json", hub.INDEX):
                shutil.copyfile(path, target / path.name)
