"""A nested size out of a larger checkpoint, as a checkpoint of its own: `gemma3n/slicing.py`."""

import sys

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import FULL_SIZE, named_sizes
from pipelines.exit_code import DONE
from pipelines.nested import nested_size
from pipelines.output import writable
from pipelines.settings import SliceJob


def slice_job(job: SliceJob) -> int:
    """Write the checkpoint and print its folder.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such checkpoint or size, no size asked for, or `output` is taken.
    """
    if job.nested.budget_gb is not None:
        raise SettingsError(
            f"nested.budget_gb={job.nested.budget_gb:g} is for loading, but a slice is one size. "
            "Name it, as in nested=small."
        )
    model = job.model.pinned()
    config = Config.from_folder(model.folder)
    size = nested_size(job.nested, config)
    if size == FULL_SIZE:
        smaller = [name for name in named_sizes(config) if name != FULL_SIZE.name]
        raise SettingsError(
            f"nested={job.nested.name} is the checkpoint itself. Ask for a size inside it: "
            f"{', '.join([*smaller, 'nested.layers=', 'nested.widths='])}."
        )
    with writable(job.output):
        import gemma3n  # here, because it brings torch: mistakes are answered without

        folder = gemma3n.slice_checkpoint(model.path, size, job.output)
    sys.stdout.write(f"{folder}\n")
    return DONE
