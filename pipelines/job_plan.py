"""A job and how it loads the model -> what one process that runs all of it needs, by tier."""

from gemma3n.activations import Media
from gemma3n.config import Config
from gemma3n.memory import MemoryPlan, plan_memory
from gemma3n.named import checkpoint_folder
from pipelines.settings import PathJob
from stages.model import Load
from stages.resize import task_side

_CONTEXT = 4096  # tokens that a row may reach in a plan, as in the job `plan`
_FRAMES_A_SECOND = 100  # of mel


def job_context(load: Load) -> int:
    """Tokens of a row that are planned for."""
    longest = Config.from_folder(checkpoint_folder(load.folder)).text.max_position_embeddings
    return min(_CONTEXT, longest)


def job_plan(job: PathJob, load: Load, precision: str, pack: bool) -> MemoryPlan:
    """Plan.

    Args:
        job: says how many rows are read at once, and how large their media are.
        load: of the model.
        precision: that the load comes to, where it says `auto`.
        pack: likewise.

    Raises:
        SettingsError: see `plan_memory`.
    """
    side = task_side(job.resize, checkpoint_folder(load.folder), job.fuse.task)
    return plan_memory(
        load.folder,
        load.nested,
        load.parts,
        precision,
        load.ple,
        job_context(load),
        job.executor.batch,
        pack,
        load.towers,
        Media(side, round(_FRAMES_A_SECOND * job.source.max_segment_s)),
    )
