"""The path cut into pools: which stages share a process, and what each pool is told."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.named import checkpoint_folder
from pipelines.boundary import check_columns
from pipelines.escalation import ESCALATE, check_escalation, is_escalated, settled, with_escalation
from pipelines.nested import small_load
from pipelines.path import MODEL_STAGES, settings_of, stage_class
from pipelines.settings import PathJob, PoolSettings
from stages.model import Load

WORK = ".ray"  # folder within the run folder, for what is only known while it runs


@dataclass(frozen=True)
class Post:
    """What a process of a pool has to do. It travels to where the process is."""

    pool: str
    stages: tuple[str, ...]
    job: PathJob
    load: Load
    folder: Path  # of the run
    run: str  # name of this run of it, of which processes of an earlier one know nothing
    threads: int = 1  # of its model

    @property
    def settings(self) -> PoolSettings:
        """Of the pool."""
        settings: PoolSettings = getattr(self.job.executor.pools, self.pool)
        return settings

    def rows_a_call(self, items: int) -> int:
        """Rows that a process takes at once, of a source of so many items.

        Where a stage refills its slots that is several batches, but each process is to get some.
        """
        pool = self.settings
        if self.reads or not any(stage_class(name).streams for name in self.stages):
            return pool.batch
        a_process = pool.batches if pool.max == 1 else items // (pool.batch * pool.max)
        return pool.batch * max(1, min(pool.batches, a_process))

    @property
    def work(self) -> Path:
        """Where the pool's processes keep notes."""
        return self.folder / WORK / self.run / self.pool

    @property
    def reads(self) -> bool:
        """Whether it makes rows of items."""
        return self.stages[0] == "read"

    @property
    def computes(self) -> bool:
        """Whether its stages use the model."""
        return not {*MODEL_STAGES}.isdisjoint(self.stages)

    @property
    def decodes_in_part(self) -> bool:
        """Whether what it decodes is one half of `policy=auto`; see `pipelines.escalation`."""
        return "decode" in self.stages and is_escalated(self.job)

    @property
    def attempts(self) -> Path:
        """Where they note which rows they have begun."""
        return self.work / "attempts"


def posts(job: PathJob, load: Load, folder: Path) -> Iterator[Post]:
    """The pools that the job's path needs, in its order.

    Raises:
        SettingsError: see `check_pools`.
    """
    run = uuid.uuid4().hex[:8]
    others = load
    if is_escalated(job):
        job = settled(job, load.nested, Config.from_folder(checkpoint_folder(load.folder)))
    if is_escalated(job):
        others = small_load(job.policy, load)  # only who decodes again needs more
    for pool, stages in check_pools(job):
        own = load if pool == ESCALATE else others
        yield Post(pool, tuple(stages), job, own, folder, run)


def check_pools(job: PathJob) -> list[tuple[str, list[str]]]:
    """The pools that a job's path is cut into, each with its stages.

    Raises:
        SettingsError: stages of a pool are no neighbours on the path, one is in two pools, there
            is none of that name, or one adds columns whose types it does not say; or see
            `check_escalation`.
    """
    check_escalation(job)
    names = [one.name for one in fields(job.executor.pools)]
    pool_of: dict[str, str] = {}
    for name in names:
        for stage in getattr(job.executor.pools, name).stages:
            if stage in pool_of:
                raise SettingsError(
                    f"executor.pools has stage '{stage}' in {pool_of[stage]} and in {name}. "
                    "Name it once."
                )
            if stage not in job.path:
                stage_class(stage)  # refuses what there is not
            pool_of[stage] = name
    groups: list[tuple[str, list[str]]] = []
    for stage in job.path:
        pool = pool_of.get(stage, groups[-1][0] if groups else names[0])
        if not groups or groups[-1][0] != pool:
            groups.append((pool, []))
        groups[-1][1].append(stage)
    cut = [pool for pool, _ in groups]
    if twice := next((pool for pool in cut if cut.count(pool) > 1), None):
        raise SettingsError(
            f"executor.pools.{twice} has stages that are no neighbours on the path {job.path}. "
            "Give a pool neighbours only."
        )
    for kind in map(stage_class, job.path):
        check_columns(kind, settings_of(job, kind))
    return with_escalation(groups) if is_escalated(job) else groups
