"""`gemma3n export`: what is asked for -> the writer for that runtime, in a folder made whole."""

import errno
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from pipelines.exit_code import DONE, FULL_STOP
from pipelines.nested import nested_size
from pipelines.output import writable
from pipelines.settings import ExportJob, Runtime, Weights

_FULL = (errno.ENOSPC, errno.EDQUOT)
_WEIGHTS = {
    Runtime.hf: [Weights.auto],
    Runtime.gguf: [Weights.auto, Weights.float32, Weights.bfloat16, Weights.q8_0],
    Runtime.torch: [Weights.auto, Weights.float32],
    Runtime.litert: [Weights.auto, Weights.float32, Weights.int8],
}


def export(job: ExportJob) -> int:
    """Write the export and print its folder; nothing is left of one that fails.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such checkpoint or size, something that the other runtime cannot run, a
            missing extra, or `output` is taken.
    """
    _check(job)
    model = job.model.pinned()
    size = nested_size(job.nested, Config.from_folder(model.folder))
    write = _writer(job)
    with writable(job.output) as output:
        from gemma3n.whole_folder import whole_folder

        try:
            with whole_folder(output) as folder:
                write(model.path, size, folder)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            sys.stderr.write(
                f"gemma3n: {os.strerror(error.errno)}, in '{output}', and what was written is "
                "taken away again. Make room, or choose another folder.\n"
            )
            return FULL_STOP
    sys.stdout.write(f"{job.output}\n")
    return DONE


def _check(job: ExportJob) -> None:
    if job.nested.budget_gb is not None:
        raise SettingsError(
            f"nested.budget_gb={job.nested.budget_gb:g} is for loading, but an export is one "
            "size. Name it, as in nested=small."
        )
    if job.weights not in (accepted := _WEIGHTS[job.to]):
        raise SettingsError(
            f"weights={job.weights.value} with to={job.to.value}; it takes "
            f"{', '.join(weights.value for weights in accepted)}."
        )
    if job.calibrate and job.weights is not Weights.int8:
        raise SettingsError(
            f"calibrate= decides how activations are rounded beside int8 weights, and weights="
            f"{job.weights.value} rounds none. Give to=litert weights=int8, or leave it out."
        )
    if job.rows < 1:
        raise SettingsError(f"rows={job.rows}; at least 1. Raise it.")


def _writer(job: ExportJob) -> Callable[[str, NestedSize, Path], object]:
    """What writes for the runtime; each brings what it needs itself, torch among it."""
    match job.to:
        case Runtime.hf:
            from pipelines.export.hf import write_hf

            return _of_checkpoint(write_hf)
        case Runtime.gguf:
            _need("gguf", "export", job)
            from pipelines.export.gguf import write_gguf

            return _of_checkpoint(partial(write_gguf, weights=job.weights))
        case Runtime.torch:
            from pipelines.export.torch_programs import write_torch

            return partial(write_torch, settings=job.program)
        case Runtime.litert:
            _need("litert_torch", "litert", job)
            from pipelines.export.litert import write_litert

            rounded = job.weights is Weights.int8
            return partial(
                write_litert,
                settings=job.program,
                rounded=rounded,
                calibrate=job.calibrate,
                rows=job.rows,
            )


def _need(package: str, extra: str, job: ExportJob) -> None:
    if importlib.util.find_spec(package) is None:
        raise SettingsError(
            f"to={job.to.value} writes with {package}, which is not installed. "
            f"Install gemma3n-pipelines[{extra}]."
        )


def _of_checkpoint(write: Callable[..., object]) -> Callable[[str, NestedSize, Path], object]:
    from gemma3n.checkpoint import Checkpoint

    return lambda name, size, folder: write(Checkpoint(name), size, folder)
