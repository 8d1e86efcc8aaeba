"""Joules that a machine's own counters tell of while a run goes on: RAPL and NVML, through Zeus.

Counters are of whole devices, whoever uses them. Where there are none that may be read, nothing is
told: watts times time would be a guess.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from pipelines.progress import Summary

if TYPE_CHECKING:
    from zeus.monitor import Measurement, ZeusMonitor

logger = logging.getLogger(__name__)

_WINDOW = "run"


@contextmanager
def counting(summary: Summary) -> Iterator[None]:
    """Give the summary the joules of each device during the block, with the extra `energy`."""
    monitor = _monitor()
    if monitor is None:
        yield
        return
    monitor.begin_window(_WINDOW, sync_execution=False)
    try:
        yield
    finally:
        summary.joules = by_device(monitor.end_window(_WINDOW, sync_execution=False))


def _monitor() -> "ZeusMonitor | None":
    if find_spec("zeus") is None:
        return None
    from zeus.monitor import ZeusMonitor

    try:
        return ZeusMonitor()
    except Exception as error:  # a driver's own affair, and no reason not to run
        logger.warning("energy cannot be counted on this machine: %s", error)
        return None


def by_device(found: "Measurement") -> dict[str, float]:
    """Joules by device, those that a counter told."""
    kinds = {"gpu": found.gpu_energy, "cpu": found.cpu_energy, "dram": found.dram_energy}
    return {
        f"{kind} {number}": float(joules)
        for kind, devices in kinds.items()
        for number, joules in (devices or {}).items()
        if joules > 0
    }
