"""Who runs the path, and how much at once."""

from dataclasses import dataclass, field, fields
from enum import Enum

from gemma3n.errors import SettingsError
from stages.setting import setting


class ExecutorKind(Enum):
    """Who runs the path."""

    in_process = "in_process"
    ray = "ray"


ESCALATE = "escalate"  # the pool of a second decoder


@dataclass
class PoolSettings:
    """Processes that run the same stages; what each of them takes is in Ray's own words."""

    stages: list[str] = setting([], "neighbours on the path that share a process")
    num_cpus: float = setting(1.0, "cores of each; its model uses so many threads, at least 1")
    num_gpus: float = setting(0.0, "GPUs of each; a share where several use one")
    memory: float = setting(0.0, "bytes that each is given room for; 0 leaves it open")
    resources: dict[str, float] = setting({}, "of your own names: {encoder: 1}")
    labels: dict[str, str] = setting({}, "that its node must have: {ray.io/market-type: spot}")
    min: int = setting(1, "processes at the least")
    max: int = setting(1, "processes at the most; more come while rows wait")
    batch: int = setting(8, "rows a stage gets at once")
    batches: int = setting(
        1,
        "where rows are decoded: batches that a process takes at once, so that rows that are done "
        "make room for others; fewer where that would leave processes without any",
    )


def _no_escalate() -> PoolSettings:
    # Most rows only pass by, so it takes more of them for as many to decode.
    return PoolSettings(max=0, batches=8)


@dataclass
class PoolsSettings:
    """The pools of `executor=ray`. A stage that none names goes to that of the stage before it.

    `escalate` is there once it may have processes. Then the pool of `decode` loads and runs the
    small size of `policy=auto` alone, and what that is unsure of is decoded in `escalate`, at
    `nested`. Stages after `decode` in its pool are done there too.
    """

    read: PoolSettings = field(
        default_factory=lambda: PoolSettings(["read", "mel", "resize"], num_cpus=0.25, max=2)
    )
    encode: PoolSettings = field(default_factory=lambda: PoolSettings(["encode"], num_cpus=0.5))
    decode: PoolSettings = field(
        default_factory=lambda: PoolSettings(["fuse", "decode"], batches=4)
    )
    escalate: PoolSettings = field(default_factory=_no_escalate)
    write: PoolSettings = field(
        default_factory=lambda: PoolSettings(["write"], num_cpus=0.1, batch=64)
    )
    ple: PoolSettings = field(default_factory=lambda: PoolSettings(num_cpus=0.1))  # of ple=store

    def __post_init__(self) -> None:
        _check_escalate(self.escalate)
        for one in fields(self):
            if one.name != ESCALATE or self.escalate.max:
                _check(one.name, getattr(self, one.name))


def _check_escalate(pool: PoolSettings) -> None:
    """Refuse what the pool of a second decoder cannot have.

    Raises:
        SettingsError: stages, or settings of a pool that is not there.
    """
    pre = f"executor.pools.{ESCALATE}"
    if pool.stages:
        raise SettingsError(
            f"{pre}.stages={pool.stages}, but its stages are decode, and what follows decode in "
            "the pool before it. Leave them out."
        )
    absent = _no_escalate()
    given = [f.name for f in fields(pool) if getattr(pool, f.name) != getattr(absent, f.name)]
    if given and pool.max == 0:
        raise SettingsError(
            f"{pre} has {' and '.join(given)}, but max=0: there is no such pool. Give {pre}.max, "
            "1 or more, or leave the others out."
        )


def _check(name: str, pool: PoolSettings) -> None:
    """Refuse numbers that no pool can have.

    Raises:
        SettingsError: it has one, which is named as whoever wrote it knows it.
    """
    pre = f"executor.pools.{name}"
    least = {"num_cpus": 0, "num_gpus": 0, "memory": 0, "min": 1, "batch": 1, "batches": 1}
    for setting_name, lowest in least.items():
        if (value := getattr(pool, setting_name)) < lowest:
            raise SettingsError(f"{pre}.{setting_name}={value}; at least {lowest}. Raise it.")
    for resource, amount in pool.resources.items():
        if amount < 0:
            raise SettingsError(f"{pre}.resources has {resource}: {amount}; at least 0. Raise it.")
    if pool.max < pool.min:
        raise SettingsError(f"{pre}.max={pool.max}, but {pre}.min={pool.min}. Raise max.")


@dataclass
class ExecutorSettings:
    """Who runs the path, and how much at once. None of it changes a result."""

    kind: ExecutorKind = setting(
        ExecutorKind.in_process,
        "in_process: one process, one device; ray: pools of processes, here or on a cluster",
    )
    batch: int = setting(8, "rows a stage gets at once; a pool of ray has its own")
    readers: int = setting(2, "threads that read files ahead of the model")
    address: str | None = setting(None, "of a running Ray cluster; by default one starts here")
    items_a_task: int = setting(
        16,
        "items that ray hands out at once; of a long source later ones are up to 16 times as many",
    )
    max_row_attempts: int = setting(
        3, "times that a row may be begun whose process dies of it; then it has failed"
    )
    row_timeout_s: float = setting(
        600.0, "seconds for a batch, in a process of its own; then for each row of it"
    )
    pools: PoolsSettings = field(default_factory=PoolsSettings)

    def __post_init__(self) -> None:
        for name, least in (
            ("batch", 1),
            ("readers", 1),
            ("items_a_task", 1),
            ("max_row_attempts", 2),
            ("row_timeout_s", 1),
        ):
            if (value := getattr(self, name)) < least:
                raise SettingsError(f"executor.{name}={value}; at least {least}. Raise it.")
