"""`policy=auto` by two pools of decoders: one answers small, one again what that was unsure of.

Each loads what it runs and no more: the first the small size, the second the whole of `nested`.
"""

from dataclasses import replace

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize, resolve_size
from gemma3n.policy import SINGLE
from pipelines.settings import PathJob, PolicyKind, PoolsSettings
from pipelines.settings.executor import ESCALATE
from stages.decode import Decode
from stages.first_answer import FirstAnswer
from stages.model import Load

__all__ = ["ESCALATE", "check_escalation", "decoder", "is_escalated", "settled", "with_escalation"]


def is_escalated(job: PathJob) -> bool:
    """Whether a job has the second pool."""
    return job.executor.pools.escalate.max > 0


def check_escalation(job: PathJob) -> None:
    """Refuse the second pool where nothing could come to it, or nobody knows what it is to load.

    Raises:
        SettingsError: it is asked for all the same.
    """
    if not is_escalated(job):
        return
    pre = f"executor.pools.{ESCALATE} decodes again what the small size of policy=auto is unsure of"
    if job.policy.kind is not PolicyKind.auto:
        raise SettingsError(
            f"{pre}, but policy={job.policy.kind.value}. Set policy=auto, or leave the pool out."
        )
    if "decode" not in job.path:
        raise SettingsError(
            f"{pre}, but nothing on the path {job.path} decodes. Leave the pool out."
        )
    if job.nested.budget_gb is not None:
        raise SettingsError(
            f"{pre}, at a size that is named, but nested.budget_gb={job.nested.budget_gb:g} chooses"
            " one as it loads. Name it: nested=full."
        )


def settled(job: PathJob, nested: NestedSize, config: Config) -> PathJob:
    """The job without the second pool where the small size is all there is, so is never doubted.

    Args:
        job: that `check_escalation` passed.
        nested: its size.
        config: of the checkpoint.

    Raises:
        SettingsError: the checkpoint has no such small size.
    """
    if not is_escalated(job):
        return job
    if not nested.within(resolve_size(job.policy.small, config), config.text):
        return job
    pools = replace(job.executor.pools, escalate=PoolsSettings().escalate)
    return replace(job, executor=replace(job.executor, pools=pools))


def with_escalation(groups: list[tuple[str, list[str]]]) -> list[tuple[str, list[str]]]:
    """Pools and their stages, the second decoder behind the first.

    What follows in the pool of the first needs an answer, so it is done in that of the second.
    """
    cut: list[tuple[str, list[str]]] = []
    for pool, stages in groups:
        if "decode" not in stages:
            cut.append((pool, stages))
            continue
        at = stages.index("decode")
        cut += [(pool, stages[: at + 1]), (ESCALATE, stages[at:])]
    return cut


def decoder(job: PathJob, load: Load, pool: str) -> Decode:
    """The stage `decode` of one of the two pools, on the machine that will run it.

    Args:
        job: whose settings it gets.
        load: of the size that the pool runs.
        pool: its name.
    """
    kind = Decode if pool == ESCALATE else FirstAnswer
    # Neither sees more than one size; the threshold is the first one's to know.
    return kind(job.decode, load, replace(job.policy.policy(), kind=SINGLE))
