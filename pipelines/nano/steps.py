"""A step of the recipe, done once: its manifest lines are its stamp.

`steps/<name>.jsonl` appears whole when a step has finished. A run that is killed redoes at most the
step it was in.
"""

import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True)
class Work:
    """Where and how the recipe runs."""

    out: Path
    workers: int = 1
    share: float = 1.0  # of the full amounts

    def amount(self, full: int) -> int:
        """How many of something to make."""
        return max(1, round(full * self.share))


@dataclass(frozen=True)
class Step:
    """One part; `lines` yields its manifest lines, or a word for each thing dropped."""

    name: str
    lines: Callable[[Work], Iterable[dict[str, Any] | str]]


def do(step: Step, work: Work) -> None:
    """Run a step, unless it is done."""
    path = stamp(work, step.name)
    if path.is_file():
        return
    start = time.monotonic()
    lines, dropped = [], Counter[str]()
    for line in step.lines(work):
        if isinstance(line, str):
            dropped[line] += 1
        else:
            lines.append(line)
    write_lines(path, lines)
    seconds = time.monotonic() - start
    hours = sum(line.get("seconds", 0.0) for line in lines) / 3600
    lost = ", ".join(f"{count} {why}" for why, count in dropped.most_common()) or "none"
    speech = f", {hours:.2f} h of speech," if hours else ""
    log.info("%s: %d lines%s in %.0f s; dropped: %s", step.name, len(lines), speech, seconds, lost)


def stamp(work: Work, name: str) -> Path:
    return work.out / "steps" / f"{name}.jsonl"


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a manifest; none where there is no such file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write a manifest in one go: a reader sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_suffix(".half")
    text = "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def spread(work: Work, make: Callable[[Item], Made], items: Sequence[Item]) -> Iterator[Made]:
    """`make` of each item, in order, over the workers."""
    if work.workers == 1:
        yield from map(make, items)
    else:
        # Few and long ones one by one, so that no worker waits for another at the end.
        chunk = max(1, min(8, len(items) // (4 * work.workers)))
        with ProcessPoolExecutor(work.workers) as pool:
            yield from pool.map(make, items, chunksize=chunk)
