"""What a user calls a checkpoint -> its folder."""

from pathlib import Path

NANO = "nano"


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint.

    Args:
        name: the text `nano` is the one that comes with this package (a folder of that name is
            `./nano`, or a `Path`); anything else is a folder.
    """
    return Path(__file__).parent / NANO if name == NANO else Path(name)
