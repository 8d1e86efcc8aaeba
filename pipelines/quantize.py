"""A checkpoint with int8 or int4 weights, made of another: `gemma3n/quantize.py`."""

import sys

from gemma3n.choices import ROUNDED, Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.rounded import refuse_rounded
from pipelines.exit_code import DONE
from pipelines.output import writable
from pipelines.settings import QuantizeJob


def quantize_job(job: QuantizeJob) -> int:
    """Write the checkpoint and print its folder.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such checkpoint, one that is rounded already, a precision that rounds
            nothing, rows that cannot be used, or `output` is taken.
    """
    if job.precision not in ROUNDED:
        names = " or ".join(one.value for one in ROUNDED)
        raise SettingsError(
            f"precision={job.precision.value}, but quantize makes {names}. Give one of them."
        )
    if job.calibrate and job.precision is not Precision.int4:
        raise SettingsError(
            f"calibrate= decides how int4 weights are rounded, and precision={job.precision.value} "
            "rounds to nearest, which loses nearly nothing. Leave calibrate out."
        )
    if job.rows < 1:
        raise SettingsError(f"rows={job.rows}; at least 1. Raise it.")
    model = job.model.pinned()
    refuse_rounded(Config.from_folder(model.folder), "quantized again")
    with writable(job.output):
        import gemma3n  # here, because it brings torch: mistakes are answered without

        power_of = None
        if job.calibrate:
            from pipelines.calibration import calibration

            power_of = calibration(model.path, job.calibrate, job.rows).of
        folder = gemma3n.quantize_checkpoint(model.path, job.precision.value, job.output, power_of)
    sys.stdout.write(f"{folder}\n")
    return DONE
