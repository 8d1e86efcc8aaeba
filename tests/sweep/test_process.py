"""A run's process: what it says arrives, and its end does, and ours is its own."""

import os
import signal
from pathlib import Path
from queue import SimpleQueue

import pytest

from pipelines.sweep import child
from pipelines.sweep.process import RunProcess


def test_what_a_run_says_is_told_and_kept_and_its_code_is_known(tmp_path: Path) -> None:
    told: list[str] = []
    ended: SimpleQueue[str] = SimpleQueue()
    console = tmp_path / "run.log"
    console.write_text("before\n")
    run = RunProcess(["nope"], console, 1, told.append, lambda: ended.put("end"))
    assert ended.get(timeout=60) == "end"
    assert run.code() == 2
    (line,) = told
    assert line.startswith("gemma3n: 'nope' is not a job")
    assert list(run.tail) == told
    assert console.read_text() == f"before\n{line}\n"


def test_a_run_that_is_killed_tells_by_which_signal(tmp_path: Path) -> None:
    ended: SimpleQueue[str] = SimpleQueue()
    run = RunProcess(
        ["--version"], tmp_path / "run.log", None, lambda line: None, lambda: ended.put("end")
    )
    run.kill()
    ended.get(timeout=60)
    assert run.code() == -signal.SIGKILL


def test_a_child_stops_as_by_sigterm_when_the_other_end_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *what: sent.append(what))
    reading, writing = os.pipe()
    os.write(writing, b"words mean nothing")
    os.close(writing)
    child.wait_for_the_end(reading)
    os.close(reading)
    assert sent == [(os.getpid(), signal.SIGTERM)]
