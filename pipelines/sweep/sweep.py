"""Runs one after another, or several at once; their index, kept; a table of them at the end."""

import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import Any

from gemma3n.errors import SettingsError
from gemma3n.limits import usable_cores
from pipelines.compose import typed_path
from pipelines.console import console
from pipelines.exit_code import BUG, DONE, INTERRUPTED, ROWS_FAILED
from pipelines.lock import locked
from pipelines.output import writable
from pipelines.run import CONFIG
from pipelines.sweep import numbers
from pipelines.sweep.finished import Fingerprints, is_finished
from pipelines.sweep.index import Entry, Index, earlier_runs, worst
from pipelines.sweep.live import live_line
from pipelines.sweep.process import RunProcess
from pipelines.sweep.runs import Run
from pipelines.sweep.table import errors_of, table_of

CONSOLE = "console"  # folder of what each run said on its terminal
_OURS = "gemma3n: "
_LOUD = (" WARNING ", " ERROR ", " CRITICAL ")


@dataclass(frozen=True)
class Sweep:
    """What is to be done."""

    job: str
    command: str  # that asks for it, for the index
    axes: dict[str, list[str]]
    runs: Sequence[Run]
    start: Sequence[str] = ()  # words before a run's own: `--from FILE`
    parallel: int = 1  # runs at once


def run_sweep(sweep: Sweep, output: Path) -> int:
    """Run all that is not finished, and print a table.

    Args:
        sweep: its runs.
        output: its folder, with one for each run.

    Returns:
        The worst of the runs' exit codes; 130 if it was interrupted.

    Raises:
        SettingsError: the folder is another's, or in use.
    """
    if (output / CONFIG).exists():
        raise SettingsError(
            f"output '{output}' is the folder of one run, and a sweep has one with a folder each. "
            "Choose another."
        )
    with writable(output) as folder, locked(folder):
        code = _Going(sweep, folder, earlier_runs(folder)).run()
        sys.stdout.write(f"{folder}\n")
    return code


@dataclass(frozen=True)
class _Begun:
    run: Run
    process: RunProcess
    at: float  # seconds


class _Going:
    """A sweep on its way."""

    def __init__(self, sweep: Sweep, folder: Path, earlier: dict[str, Entry]) -> None:
        self.sweep, self.folder = sweep, folder
        self.fingerprints = Fingerprints()
        self.entries = {run.name: _entry(run, earlier.get(run.name)) for run in sweep.runs}
        self.index = Index(sweep.job, sweep.command, sweep.axes, list(self.entries.values()))
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._said = Lock()

    def run(self) -> int:
        (self.folder / CONSOLE).mkdir(exist_ok=True)
        waiting = deque(self._unfinished())
        count, kept = len(self.sweep.runs), len(self.sweep.runs) - len(waiting)
        self._say(
            f"{count} runs in {self.folder}: "
            + " x ".join(f"{name}={','.join(some)}" for name, some in self.sweep.axes.items())
            + (f"; {kept} are finished" if kept else "")
        )
        self.index.write(self.folder)
        with live_line() as self._show:
            interrupted = self._run_all(waiting)
        return self._report(interrupted)

    def _run_all(self, waiting: deque[Run]) -> bool:
        """Run what is waiting; returns whether it was interrupted."""
        going: dict[str, _Begun] = {}
        interrupted = False
        while going or (waiting and not interrupted):
            try:
                while waiting and len(going) < self.sweep.parallel and not interrupted:
                    begun = self._begin(waiting.popleft())
                    going[begun.run.name] = begun
                name = self._ended.get()
            except KeyboardInterrupt:
                for begun in going.values():
                    begun.process.kill() if interrupted else begun.process.stop()
                if not interrupted:
                    self._say("interrupted; runs that are on their way keep what they have done")
                interrupted = True
                continue
            self._end(going.pop(name))
        return interrupted

    def _unfinished(self) -> list[Run]:
        left = []
        for run in self.sweep.runs:
            entry, folder = self.entries[run.name], self.folder / run.name
            now = self.fingerprints.of(run.settings)
            if not is_finished(entry, now, folder, run.settings):
                if run.settings.fresh:
                    entry.seconds, entry.done = 0.0, {}
                    entry.counted = numbers.versions(folder)
                numbers.count_new(entry, folder)  # of a run whose end nobody was there to see
                entry.code, entry.error, entry.fingerprint = None, None, now
                left.append(run)
        return left

    def _begin(self, run: Run) -> _Begun:
        folder = self.folder / run.name
        words = [self.sweep.job, *self.sweep.start, *run.overrides]
        process = RunProcess(
            [*words, f"output={typed_path(str(folder))}"],
            self.folder / CONSOLE / f"{run.name}.log",
            self._threads(),
            partial(self._tell, run.name),
            partial(self._ended.put, run.name),
        )
        number = list(self.entries).index(run.name) + 1
        self._say(f"run {number} of {len(self.entries)}, {run.name}, begins")
        return _Begun(run, process, time.perf_counter())

    def _end(self, begun: _Begun) -> None:
        run = begun.run
        entry, folder = self.entries[run.name], self.folder / run.name
        entry.code = begun.process.code()
        entry.seconds += time.perf_counter() - begun.at
        entry.error = _reason(entry.code, list(begun.process.tail))
        numbers.count_new(entry, folder)
        entry.results = numbers.results(folder, entry.done)
        self.index.write(self.folder)
        self._say(
            f"{run.name}: exit code {entry.code} after {entry.seconds:.1f} s"
            + (f", {entry.error}" if entry.error else "")
        )

    def _threads(self) -> int | None:
        """Each run's share of the cores, where several are at work."""
        if self.sweep.parallel == 1:
            return None
        return max(1, usable_cores() // self.sweep.parallel)

    def _report(self, interrupted: bool) -> int:
        out = console()
        out.print(table_of(self.index))
        for line in errors_of(self.index):
            out.print(line, soft_wrap=True)
        codes = [run.code for run in self.index.runs if run.code is not None]
        if interrupted:
            done = sum(code in (DONE, ROWS_FAILED) for code in codes)
            self._say(
                f"interrupted; {done} of {len(self.index.runs)} runs are finished, and the same "
                f"command{' without fresh=true' if self._fresh() else ''} goes on"
            )
            return INTERRUPTED
        return worst(codes)

    def _fresh(self) -> bool:
        return any(run.settings.fresh for run in self.sweep.runs)

    def _tell(self, name: str, line: str) -> None:
        """Pass on what a run says: all of it to a file, and to people what they should see."""
        said = f"[{name}] {line.removeprefix(_OURS)}"
        if not sys.stderr.isatty() or any(sign in line for sign in _LOUD):
            self._write(said)
        else:
            self._show(said)

    def _say(self, line: str) -> None:
        self._write(f"{_OURS}{line}")

    def _write(self, line: str) -> None:
        with self._said:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()


def _entry(run: Run, earlier: Entry | None) -> Entry:
    new = Entry(run.name, run.name, run.differs, run.overrides)
    return new if earlier is None else replace(earlier, **_of_the_command(new))


def _of_the_command(entry: Entry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in ("folder", "differs", "overrides")}


def _reason(code: int, tail: list[str]) -> str | None:
    """Why a run has not finished, in one line."""
    if code < 0:
        name = signal.Signals(-code).name
        no_memory = ", as the system does where memory ends" if name == "SIGKILL" else ""
        return f"its process was ended by {name}{no_memory}"
    if code in (DONE, ROWS_FAILED, INTERRUPTED):
        return None
    said = [line for line in tail if line.strip()]
    ours = [line.removeprefix(_OURS) for line in said if line.startswith(_OURS)]
    loud = [line.partition(": ")[2] for line in said if " ERROR " in line and code == BUG]
    return ([*loud, *said[-1:], *ours] or [f"exit code {code}"])[-1]
