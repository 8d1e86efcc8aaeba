"""A checkpoint with int8 or int4 weights, made of another: `gemma3n/quantize.py`."""

import sys

from gemma3n.choices import ROUNDED
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
            nothing, or `output` is taken.
    """
    if job.precision not in ROUNDED:
        names = " or ".join(one.value for one in ROUNDED)
        raise SettingsError(
            f"precision={job.precision.value}, but quantize makes {names}. Give one of them."
        )
    model = job.model.pinned()
    refuse_rounded(Config.from_folder(model.folder), "quantized again")
    with writable(job.output):
        import gemma3n  # here, because it brings torch: mistakes are answered without

        folder = gemma3n.quantize_checkpoint(model.path, job.precision.value, job.output)
    sys.stdout.write(f"{folder}\n")
    return DONE
