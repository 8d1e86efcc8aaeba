"""Broken files of every kind: each gives rows or errors. None crashes, hangs, or goes missing."""

import json
import os
import selectors
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from stages.manifest import is_manifest
from stages.media import kind_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30  # for one file of a few kilobytes, on a machine that does other things too


class Worker:
    """A process that reads one file after the other; a new one where the last has ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def outcome(self, file: Path) -> dict[str, Any]:
        """What `worker.outcome` says of the file, or `died` if its process did."""
        if self.process is None:
            self.process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("worker.py"))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            )
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{file}\n".encode())
        process.stdin.flush()
        with selectors.DefaultSelector() as waiting:
            waiting.register(process.stdout, selectors.EVENT_READ)
            line = process.stdout.readline() if waiting.select(PATIENCE_S) else b""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        return {"died": self.close() or f"nothing within {PATIENCE_S} s"}

    def close(self) -> str:
        """End the process, and give the end of what it said on stderr."""
        if self.process is None:
            return ""
        self.process.kill()
        _, said = self.process.communicate()
        self.process = None
        return said.decode(errors="replace")[-500:]


def outcomes(files: list[Path]) -> Iterator[tuple[Path, dict[str, Any]]]:
    worker = Worker()
    try:
        for file in files:
            yield file, worker.outcome(file)
    finally:
        worker.close()


def check(files: list[Path], processes: int) -> None:
    with ThreadPoolExecutor(processes) as pool:
        shares = [files[first::processes] for first in range(processes)]
        done = pool.map(lambda share: list(outcomes(share)), shares)
        found = dict(chain.from_iterable(done))
    assert len(found) == len(files)
    died = {file.name: one["died"] for file, one in found.items() if "died" in one}
    assert died == {}
    silent = [file.name for file, one in found.items() if not one["good"] and not one["errors"]]
    assert silent == []
    for file, one in found.items():
        for message in one["errors"]:
            assert len(message) > 20, f"{file.name}: {message}"
    # Files that nothing can be made of would show little.
    decoded = sum(one["good"] > 0 for one in found.values())
    assert decoded >= 0.3 * len(files), f"only {decoded} of {len(files)} were still readable"


def test_files_that_are_not_broken_are_read(good_files: list[Path]) -> None:
    taken = [file for file in good_files if kind_of(file) or is_manifest(file)]
    assert len(taken) > 9
    for file, one in outcomes(taken):
        assert (one["good"] > 0, one["errors"]) == (True, []), file.name


def test_broken_files_give_rows_or_errors(broken_files: Any) -> None:
    check(broken_files(60, 0), processes=1)


@pytest.mark.slow
def test_two_thousand_broken_files_give_rows_or_errors(broken_files: Any) -> None:
    check(broken_files(2000, 1), processes=2)
