"""A command as a user would give it -> its summary, and what its process took meanwhile."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.pretend import installed

_SAMPLE_S = 0.5  # between two looks at the process


@dataclass(frozen=True)
class Look:
    """At a process, without its children."""

    at: float  # seconds since its start
    bytes: int
    cpu: float  # seconds that it has computed
    all_cpu: float  # seconds that all processes of the machine have


@dataclass
class Run:
    """One command."""

    wall: float  # seconds of the whole process
    before: float  # of it, until it knew its settings and its checkpoint
    summary: dict[str, Any]
    looks: list["Look"]

    @property
    def start(self) -> dict[str, float]:
        """Seconds until rows go through it, by what they are spent on."""
        spent, pools = self.summary["stage_seconds"], self.summary["pools"].values()
        parts = {
            "imports and settings s": self.before,
            "cluster s": spent.get("start", 0.0),
            "list s": spent.get("list", 0.0),
            "pools s": max((pool["ready_seconds"] for pool in pools), default=0.0),
            "load s": 0.0 if pools else spent.get("load", 0.0),
        }
        return {name: seconds for name, seconds in parts.items() if seconds}

    @property
    def past_start(self) -> float:
        """Seconds from then on."""
        own = sum(self.start.values()) - self.before
        seconds: float = self.summary["seconds"] - own
        return max(seconds, 1e-9)

    @property
    def looks_past_start(self) -> list[Look]:
        """At the driver while rows went through it, the first just before."""
        began = sum(self.start.values())
        later = [look for look in self.looks if look.at >= began]
        before = [look for look in self.looks if look.at < began]
        return [*before[-1:], *later]

    @property
    def cpu(self) -> float:
        """Seconds that the driver computed for the rows, not for its start."""
        looks = self.looks_past_start
        return looks[-1].cpu - looks[0].cpu if looks else 0.0

    @property
    def cores_busy(self) -> float:
        """Share of the machine's cores that rows, or anything else, kept busy past the start."""
        looks = self.looks_past_start
        if not looks or (seconds := looks[-1].at - looks[0].at) <= 0:
            return 0.0
        return (looks[-1].all_cpu - looks[0].all_cpu) / seconds / (os.cpu_count() or 1)


def run_command(
    words: Sequence[str], folder: Path, variables: Mapping[str, str] | None = None
) -> Run:
    """Give a command, and look at its process meanwhile.

    Args:
        words: of it, with `-o`.
        folder: as `bench_folder` yields it.
        variables: more of its environment.

    Raises:
        SettingsError: it failed.
    """
    out = Path(words[words.index("-o") + 1])
    here = Path(__file__).parents[2]
    paths = [str(folder / "site"), str(here), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    environment |= variables or {}
    start = time.time()
    looks: list[Look] = []
    with (folder / "stderr").open("w+") as said:
        command = [sys.executable, "-m", "pipelines", *words, "fresh=true"]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=said)
        while process.poll() is None:
            if seen := looked_at(process.pid):
                looks.append(Look(time.time() - start, *seen))
            time.sleep(_SAMPLE_S)
        if process.returncode:
            said.seek(0)
            last = (said.read().strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            raise SettingsError(f"a run of the bench failed: {last.removeprefix('gemma3n: ')}")
    wall = time.time() - start
    summary = json.loads((out / "summary.json").read_text())
    began = (out / "run.log").read_text().partition(" INFO ")[0]
    before = datetime.strptime(began, "%Y-%m-%d %H:%M:%S,%f").timestamp() - start
    return Run(wall, before, summary, looks)


def looked_at(pid: int) -> tuple[int, float, float] | None:
    """What a `Look` at a process has beside its time; None if it is gone."""
    folder = Path(f"/proc/{pid}")
    try:
        status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        times = (folder / "stat").read_text().rpartition(") ")[2].split()[11:13]
        user, nice, system = Path("/proc/stat").read_text().split()[1:4]
    except OSError:
        return None
    if "VmRSS" not in status:  # it has just ended
        return None
    ticks = os.sysconf("SC_CLK_TCK")
    own, of_all = (sum(map(int, some)) / ticks for some in (times, (user, nice, system)))
    return int(status["VmRSS"].split()[0]) * 1024, own, of_all


def check_proc() -> None:
    """Do nothing on Linux.

    Raises:
        SettingsError: it is another system.
    """
    if not Path("/proc/self/status").exists():
        raise SettingsError(
            "this bench reads memory from /proc, which only Linux has. Run it there."
        )


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder for a bench, with the stages that only pretend.

    Raises:
        SettingsError: not a Linux machine.
    """
    check_proc()
    with tempfile.TemporaryDirectory() as name:
        installed(Path(name) / "site")
        yield Path(name)
