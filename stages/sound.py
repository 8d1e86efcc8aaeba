"""What every decoder gives of a file's sound."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stages.row import F32


@dataclass(frozen=True)
class Sound:
    """The sound of an open file."""

    rate: int  # Hz
    seconds: float | None  # that the header gives it, if it does
    chunks: Callable[[float], Iterator[F32]]  # from so many seconds on: each [samples], mono, -1..1
