"""Where a run takes place, and what memory it should need there: its report tells both."""

import os
import platform
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.job_plan import job_context, job_plan
from pipelines.settings import PathJob
from stages.model import Load


def where() -> dict[str, Any]:
    """The machine, without its name: processor, cores, memory, GPU, system, versions."""
    import torch

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def planned(job: PathJob, load: Load, precision: str) -> dict[str, Any] | None:
    """What one process that holds all of the model should need, by tier; None where nobody knows.

    Args:
        job: says how many rows are decoded at once.
        load: of the model.
        precision: that the load comes to, where it says `auto`.
    """
    with suppress(SettingsError, OSError):
        plan = job_plan(job, load, precision, bool(load.pack))
        items = [asdict(item) for item in plan.items]
        context, batch = job_context(load), job.executor.batch
        return {"size": plan.size, "context": context, "batch": batch, "items": items}
    return None


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n"):
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    with suppress(ValueError, OSError, AttributeError):  # not on Windows
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return None
