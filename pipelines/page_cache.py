"""Files out of the page cache, so that what is measured next reads them from the disk."""

import os
import sys
from pathlib import Path

from gemma3n.errors import SettingsError


def evict(path: Path, offset: int = 0, length: int = 0) -> None:
    """Drop pages of a file; those that a process has mapped and touched stay.

    Args:
        path: of the file.
        offset: first byte.
        length: bytes; 0 for all that follow.

    Raises:
        SettingsError: this system has no way to.
    """
    if not hasattr(os, "posix_fadvise"):
        raise SettingsError(
            f"{sys.platform} cannot drop a file from its page cache (posix_fadvise), so that "
            "nothing cold can be measured. Run it on Linux."
        )
    with path.open("rb") as file:
        os.fdatasync(file.fileno())  # pages that are not on the disk yet stay too
        os.posix_fadvise(file.fileno(), offset, length, os.POSIX_FADV_DONTNEED)
