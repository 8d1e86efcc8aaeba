"""A path or a URL -> an open file."""

import os
import shutil
import stat
import tempfile
from typing import BinaryIO, cast

from gemma3n.errors import InputError, reason
from stages.remote import file_system, is_url


def open_file(path: str) -> BinaryIO:
    """The bytes of a file, to read and to seek in.

    Args:
        path: of a file on this machine, or a URL.

    Raises:
        InputError: it cannot be opened, or is no file.
    """
    return _remote(path) if is_url(path) else _local(path)


def _local(path: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
        if stat.S_ISREG(mode):  # a pipe, for one, would be waited for without end
            return open(path, "rb")  # noqa: PTH123
    except OSError as error:
        if isinstance(error, FileNotFoundError) and os.path.islink(path):  # noqa: PTH114
            goal = os.readlink(path)  # noqa: PTH115
            raise _cannot(path, f"it is a link to '{goal}', which does not exist") from error
        raise _cannot(path, error.strerror or str(error)) from error
    what = "a folder" if stat.S_ISDIR(mode) else "a pipe, a device or the like"
    raise InputError(f"'{path}' is not a file but {what}. Correct the path, or leave it out.")


def _remote(url: str) -> BinaryIO:
    try:
        system, path = file_system(url)
        file = system.open(path, "rb")
        if file.seekable():
            return cast(BinaryIO, file)
        with file:  # of a length that its server does not tell
            copy = tempfile.TemporaryFile()  # noqa: SIM115
            shutil.copyfileobj(file, copy)
            return cast(BinaryIO, copy)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise _cannot(url, "there is no such file") from error
    except Exception as error:  # what a driver raises is its own affair
        raise _cannot(url, reason(error)) from error


def _cannot(path: str, why: str) -> InputError:
    return InputError(f"'{path}' cannot be opened: {why}. Correct the path, or leave it out.")
