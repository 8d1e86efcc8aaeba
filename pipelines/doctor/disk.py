"""How much room there is, and how fast the checkpoint is read from where it is."""

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gemma3n.readable import bytes_text
from pipelines.doctor.finding import Finding, note, ok

GROUP = "disk"
_BLOCK = 1 << 23
_MOST = 1 << 30  # bytes that are read, at most
_SECONDS = 2.0  # and for no longer than that
_ENOUGH = 1 << 27  # bytes; fewer say little of a disk
_LOW = 5e9  # bytes of room that results of a large job may take
_PAGE = 4096


@dataclass(frozen=True)
class Speed:
    """What reading a file took."""

    bytes: int
    seconds: float
    cached: float | None  # share of it that was in memory all the same; None: cannot be told

    @property
    def per_second(self) -> float:
        """Bytes a second."""
        return self.bytes / max(self.seconds, 1e-9)


def look_at_disks(checkpoint: Path, outputs: Path) -> list[Finding]:
    """Room where results go, and how fast weights are read.

    Args:
        checkpoint: folder with weights; one that is still on the hub has none.
        outputs: where results would go; may not exist yet.
    """
    return [_room(outputs), _reading(checkpoint)]


def read_speed(files: list[Path]) -> Speed:
    """Read files, from the disk as far as the system lets us: pages in memory are let go of first.

    They are in memory again afterwards, as before, so that other processes lose nothing for long.
    """
    read, seconds, cached, known = 0, 0.0, 0.0, True
    for file in files:
        if read >= _MOST or seconds >= _SECONDS:
            break
        with file.open("rb", buffering=0) as stream:
            length = min(file.stat().st_size, _MOST - read)
            share = _let_go(stream.fileno(), length)
            known &= share is not None
            begin = time.perf_counter()
            some = 0
            for size in _blocks(stream.fileno(), length):
                some += size
                if seconds + time.perf_counter() - begin > _SECONDS:
                    break
            seconds += time.perf_counter() - begin
            read += some
            cached += (share or 0.0) * some
    return Speed(read, seconds, cached / read if known and read else None)


def _blocks(descriptor: int, length: int) -> Iterator[int]:
    offset = 0
    buffer = bytearray(_BLOCK)
    while offset < length:
        size = os.preadv(descriptor, [memoryview(buffer)[: length - offset]], offset)
        if not size:
            return
        offset += size
        yield size


def _let_go(descriptor: int, length: int) -> float | None:
    """Ask the system to forget a file's pages; returns the share that it kept, if that is told."""
    if not hasattr(os, "posix_fadvise"):
        return None
    os.posix_fadvise(descriptor, 0, length, os.POSIX_FADV_DONTNEED)
    looked = range(0, max(length - _PAGE, 1), max(_PAGE, length // 64))
    try:
        return sum(_is_in_memory(descriptor, offset) for offset in looked) / len(looked)
    except OSError:  # a file system that does not say
        return None


def _is_in_memory(descriptor: int, offset: int) -> bool:
    try:
        return os.preadv(descriptor, [bytearray(_PAGE)], offset, os.RWF_NOWAIT) > 0
    except BlockingIOError:
        return False


def _room(outputs: Path) -> Finding:
    there = next(path for path in (outputs, *outputs.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    found = f"{bytes_text(free)} free in '{there}'"
    if free < _LOW:
        return note(GROUP, "room", found, "Make room, or write elsewhere: -o /other/disk/out")
    return ok(GROUP, "room", found)


def _reading(checkpoint: Path) -> Finding:
    files = sorted(checkpoint.glob("*.safetensors"), key=lambda file: -file.stat().st_size)
    if not files:
        return note(GROUP, "reading", f"no weights in '{checkpoint}' yet", "Any job fetches them.")
    speed = read_speed(files)
    found = f"{bytes_text(int(speed.per_second))}/s from '{checkpoint}'"
    if speed.bytes < _ENOUGH:
        found += f"; of {bytes_text(speed.bytes)} only, which says little of the disk"
    if speed.cached is None:
        return ok(
            GROUP, "reading", f"{found}; whether from memory or from the disk is not told here"
        )
    if speed.cached > 0.1:
        found += f"; {100 * speed.cached:.0f} % was in memory still, so the disk is slower"
    return ok(GROUP, "reading", found)
