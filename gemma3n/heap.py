"""Memory that was freed, back to the system: glibc keeps it for pieces that may never come.

Weights that are read, rounded and packed one by one leave holes of all sizes. Nobody fills them
any more, and from run to run E2B in int8 was loaded with 0.1 to 1.2 GB more than its copies take.
"""

import ctypes
from functools import cache
from typing import Any

_MUCH = 1 << 27  # free bytes worth giving back: what comes next has to ask the system for them anew


class _Info(ctypes.Structure):
    """malloc.h: mallinfo2."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


def give_back() -> int:
    """Give what is free to the system, if it is much.

    Returns:
        Bytes that were free; 0 if the C library has no such functions (glibc has, from 2.33).
    """
    library = _library()
    if library is None:
        return 0
    free: int = library.mallinfo2().fordblks
    if free > _MUCH:
        library.malloc_trim(0)
    return free


@cache
def _library() -> Any:
    try:
        library = ctypes.CDLL(None)
        library.mallinfo2.restype = _Info
        library.malloc_trim.argtypes = [ctypes.c_size_t]
    except (AttributeError, TypeError):  # of another system; Windows has no library without a name
        return None
    return library
