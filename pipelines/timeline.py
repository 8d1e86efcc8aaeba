"""A run as it goes -> what it did over time, in a file that hours make no longer than minutes."""

import json
import logging
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pipelines.progress import Summary
from stages.write import replacing

logger = logging.getLogger(__name__)

TIMELINE = "timeline.json"
_MOST = 240  # samples; of more, every other one goes, and those to come are twice as far apart
_FIRST_S, _KEEP_S = 0.25, 15.0  # between two samples at first; between two writings of the file
_STOP_S = 5.0  # that the last sample may take
_COUNTED = ("items", "rows", "failed", "new_tokens", "waited_seconds")

Sample = dict[str, float]


class Timeline:
    """Samples a run from a thread of its own: where the numbers come from need not know of it."""

    def __init__(
        self, folder: Path, summary: Summary, every_s: float = _FIRST_S, most: int = _MOST
    ) -> None:
        """Prepare; nothing is sampled before `start`.

        Args:
            folder: of the run, where the file goes.
            summary: is kept up to date by the executor.
            every_s: between two samples, at first.
            most: samples that are kept; an even number.
        """
        self.folder, self.summary, self.every_s, self.most = folder, summary, every_s, most
        self.samples: list[Sample] = []
        self._about: dict[str, Any] = {}
        self._over = Event()
        self._thread: Thread | None = None

    def start(self, about: Mapping[str, Any]) -> None:
        """Begin to sample, now that the run folder is there.

        Args:
            about: what else is to be known of the run, as JSON can hold it.
        """
        began = datetime.now(timezone.utc).isoformat(timespec="seconds")
        self._about, self._start = {"began": began, **about}, time.perf_counter()
        self._thread = Thread(target=self._watch, name="timeline", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Take the last sample, and write the file."""
        if self._thread is None:
            return
        self._over.set()
        self._thread.join(_STOP_S)

    def add(self, sample: Sample) -> None:
        """Keep a sample, and make room where there are too many."""
        self.samples.append(sample)
        if len(self.samples) >= self.most:
            del self.samples[1::2]
            self.every_s *= 2

    def document(self) -> dict[str, Any]:
        """What the file holds: one list a column, all as long as `seconds`."""
        names = dict.fromkeys(name for sample in self.samples for name in sample)
        columns = {
            name: [round(sample.get(name, 0.0), 4) for sample in self.samples] for name in names
        }
        return {**self._about, "every_s": self.every_s, "samples": columns}

    def _watch(self) -> None:
        kept = 0.0
        while True:
            is_over = self._over.is_set()
            now = time.perf_counter() - self._start
            try:
                self.add({"seconds": now, **sampled(self.summary)})
            except Exception:  # of files that other processes write, for one: no run ends for it
                logger.debug("a sample of the timeline is missing", exc_info=True)
            if is_over or now - kept > _KEEP_S:
                kept = now
                with suppress(OSError):  # no room on the disk: the run says so itself
                    self._keep()
            if is_over:
                return
            self._over.wait(self.every_s)

    def _keep(self) -> None:
        with replacing(self.folder / TIMELINE) as file:
            file.write((json.dumps(self.document()) + "\n").encode())


def sampled(summary: Summary) -> Sample:
    """What a run has done up to now, and the memory that it has, in bytes."""
    sample = {name: float(getattr(summary, name)) for name in _COUNTED}
    elsewhere = summary.elsewhere
    for times in (summary.stage_seconds, *([elsewhere()] if elsewhere else [])):
        for name, seconds in times.copy().items():
            sample[f"{name}.seconds"] = sample.get(f"{name}.seconds", 0.0) + seconds
        for name, rows in times.rows.copy().items():
            sample[f"{name}.rows"] = sample.get(f"{name}.rows", 0.0) + rows
    return sample | memory()


def memory() -> Sample:
    """Bytes of memory that this process has now; a kind that the system does not tell is absent.

    `anonymous` is its own; `mapped` are pages of files, such as weights, that it has touched and
    that the system may take back; `device` is what torch holds on the GPU.
    """
    found: Sample = {}
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if kind := {"RssAnon": "anonymous", "RssFile": "mapped"}.get(name):
                found[f"memory.{kind}"] = 1024.0 * int(value.split()[0])
    torch = sys.modules.get("torch")  # whoever has not loaded it has nothing on a GPU
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        found["memory.device"] = float(torch.cuda.memory_allocated())
        found["memory.device_peak"] = float(torch.cuda.max_memory_allocated())
    return found
