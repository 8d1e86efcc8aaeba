"""`degrade=true`: a job that its budget cannot hold -> the same with a smaller size, then pictures.

The budget then has to hold all that `plan` counts of the job, not weights alone. What gives way
first is what costs least: nested sizes, from the largest to the smallest, and only then the side of
the pictures. What was given up is told in the log and in summary.json.
"""

import logging
from collections.abc import Iterator
from dataclasses import replace

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize, named_sizes
from gemma3n.memory import GB
from gemma3n.named import checkpoint_folder
from gemma3n.readable import bytes_text
from gemma3n.rounded import rounded
from gemma3n.vision.pixels import RESOLUTIONS
from pipelines.job_plan import job_plan
from pipelines.settings import NestedSettings, PathJob
from stages.model import Load
from stages.resize import task_side

logger = logging.getLogger(__name__)

Degraded = dict[str, dict[str, object]]  # by setting: what it was, is


def check_degrade(job: PathJob) -> None:
    """Refuse a job that is to give way to no budget.

    Raises:
        SettingsError: it is.
    """
    if job.degrade and job.nested.budget_gb is None:
        raise SettingsError(
            "degrade=true gives way to a budget, but there is none. Set nested.budget_gb, or leave "
            "degrade out."
        )


def degraded(job: PathJob, load: Load) -> tuple[PathJob, Degraded]:
    """The job as its budget can hold it, and what was given up for that.

    Args:
        job: as it was asked for; without `degrade` it stays so.
        load: of the model.

    Raises:
        SettingsError: the budget does not hold the least.
    """
    budget = job.nested.budget_gb
    if not job.degrade or budget is None:
        return job, {}
    folder = checkpoint_folder(load.folder)
    config = Config.from_folder(folder)
    precision, pack = _formats(load, config)
    asked = task_side(job.resize, folder, job.fuse.task)

    def needed(size: NestedSize, side: int) -> int:
        smaller = replace(job, resize=replace(job.resize, at_most=side))
        plan = job_plan(smaller, replace(load, nested=size), precision, pack)
        return plan.tier("device") + plan.tier("host")

    sizes = list(named_sizes(config).values())
    sizes.sort(key=lambda size: needed(size, asked), reverse=True)
    for size, side in _ways(load, sizes, asked):
        need = needed(size, side)
        if need <= budget * GB:
            break
    else:
        pictures = f" and pictures of {side} pixels a side" if "vision" in load.parts else ""
        raise SettingsError(
            f"nested.budget_gb={budget:g}, but the job needs {bytes_text(need)} even at size "
            f"'{size.name}'{pictures}. Raise the budget, take fewer rows at once (executor.batch), "
            "or choose a lower precision."
        )
    given_up: Degraded = {}
    if size != sizes[0]:
        given_up["nested"] = {"was": sizes[0].name, "is": size.name}
    if side != asked:
        given_up["resize.resolution"] = {"was": asked, "is": side}
    if given_up:
        logger.warning(
            "nested.budget_gb=%g cannot hold the job, which needs %s: degraded to %s, which needs "
            "%s",
            *(budget, bytes_text(needed(sizes[0], asked))),
            ", ".join(f"{name}={one['is']}" for name, one in given_up.items()),
            bytes_text(need),
        )
    return (
        replace(
            job,
            degrade=False,  # what is left of it is as it would be asked for by itself
            nested=NestedSettings(size.name),
            resize=replace(job.resize, at_most=side),
        ),
        given_up,
    )


def _ways(load: Load, sizes: list[NestedSize], asked: int) -> Iterator[tuple[NestedSize, int]]:
    """Size and side of pictures, the least given up first."""
    for size in sizes:
        yield size, asked
    if "vision" in load.parts:
        for side in sorted(RESOLUTIONS, reverse=True):
            if side < asked:
                yield sizes[-1], side


def _formats(load: Load, config: Config) -> tuple[str, bool]:
    """Precision and packing that a load comes to on this machine."""
    from gemma3n.device import resolve_device, resolve_formats

    own = rounded(config)
    formats = resolve_formats(
        load.precision, resolve_device(load.device), load.pack, own.weights if own else None
    )
    return formats.weights.value, formats.pack
