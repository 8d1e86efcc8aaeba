"""What a user calls a checkpoint -> its folder.

A name is `nano`, the checkpoint that comes with this package; the path of a folder; or, where no
folder is called so, `owner/name` or `owner/name@revision`, a repository on the Hugging Face hub.
"""

from pathlib import Path

from gemma3n import hub

NANO = "nano"


def checkpoint_folder(name: str | Path) -> Path:
    """The folder of a checkpoint. One on the hub is brought here, all but its weights.

    Args:
        name: as above; a `Path` is a folder, `Path("nano")` too.

    Raises:
        SettingsError: the hub does not give it, see `hub.describe`.
    """
    if name == NANO:
        return Path(__file__).parent / NANO
    repository = hub.repository(name)
    return Path(name) if repository is None else hub.describe(repository)


def pinned(name: str | Path) -> str | Path:
    """The same checkpoint; a name on the hub with the commit that it means now.

    Raises:
        SettingsError: the hub does not say it, see `hub.pin`.
    """
    repository = hub.repository(name)
    return name if repository is None else str(hub.pin(repository))


def lasting(name: str) -> str:
    """A name for the same checkpoint that means it in any working directory, and tomorrow.

    Raises:
        SettingsError: as `pinned` does.
    """
    if name == NANO or hub.repository(name) is not None:
        return str(pinned(name))
    return str(Path(name).absolute())
