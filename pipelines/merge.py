"""A checkpoint with an adapter in its weights: `gemma3n/merging.py`."""

import sys

from gemma3n.adapter_config import read_config
from gemma3n.config import Config
from gemma3n.rounded import refuse_rounded
from pipelines.exit_code import DONE
from pipelines.output import writable
from pipelines.settings import MergeJob


def merge_job(job: MergeJob) -> int:
    """Write the checkpoint and print its folder.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such checkpoint or adapter, one that does not fit the other, a rounded
            checkpoint, or `output` is taken.
    """
    model = job.model.pinned()
    refuse_rounded(Config.from_folder(model.folder), "merged with an adapter")
    read_config(job.adapter)
    with writable(job.output):
        import gemma3n  # here, because it brings torch: mistakes are answered without

        folder = gemma3n.merge_checkpoint(model.path, job.adapter, job.output)
    sys.stdout.write(f"{folder}\n")
    return DONE
