"""A checkpoint folder that is made from another: whole, or not there."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gemma3n import hub
from gemma3n.checkpoint import Checkpoint
from gemma3n.whole_folder import whole_folder

_COMPANIONS = ("*.model", "*.json", "*.jinja", "*.txt", "*.md")  # what belongs to a checkpoint


@contextmanager
def new_checkpoint(output: Path, source: Checkpoint) -> Iterator[Path]:
    """A folder to write config and weights to; it gets its name when the block ends well.

    Args:
        output: its name then; free.
        source: the checkpoint that it is made from, whose tokenizer and so on come along.

    Raises:
        SettingsError: `output` is taken or cannot be made.
    """
    with whole_folder(output) as partial:
        copy_companions(source, partial)
        yield partial


def copy_companions(source: Checkpoint, target: Path) -> None:
    """Copy what belongs to a checkpoint beside its weights: tokenizer, templates, licence."""
    if (repository := hub.repository(source.name)) is not None:
        hub.bring_matching(repository, _COMPANIONS)
    for pattern in _COMPANIONS:
        for path in source.folder.glob(pattern):
            if path.name not in ("config.json", hub.INDEX):
                shutil.copyfile(path, target / path.name)
