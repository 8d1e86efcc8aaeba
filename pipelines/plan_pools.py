"""What each pool of `executor=ray` would hold, and how many of its processes a node has room for.

The arithmetic of weights is `gemma3n/memory.py`; only headers of files are read, and no torch is
loaded. Nodes are those of `executor.address`, which is asked and left as it is.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemma3n.activations import Media
from gemma3n.config import Config
from gemma3n.matformer import resolve_size
from gemma3n.memory import Item, plan_memory
from gemma3n.readable import bytes_text
from pipelines.escalation import ESCALATE, check_escalation, is_escalated, settled
from pipelines.pools import check_pools
from pipelines.ray_address import joined
from pipelines.settings import PathJob, PlanJob, PlePlacement, PoolSettings
from pipelines.settings.model import Part
from stages.resize import largest_side

_TOWERS = (Part.audio, Part.vision)
# Resources that every node has one of for itself, and labels that tell every node from all others.
_OWN = ("node:", "object_store_memory")
_OWN_LABELS = ("ray.io/node-id", "ray.io/node-group")


@dataclass(frozen=True)
class PoolPlan:
    """One pool."""

    pool: str
    stages: tuple[str, ...]
    settings: PoolSettings
    size: str  # nested, that it runs
    items: tuple[Item, ...]  # what each process holds

    def bytes(self, tier: str) -> int:
        """Of one process, in one tier."""
        return sum(item.bytes for item in self.items if item.tier == tier)


@dataclass(frozen=True)
class NodeKind:
    """Nodes that have the same."""

    count: int
    resources: Mapping[str, float]
    labels: Mapping[str, str]

    def room(self, pool: PoolSettings) -> int | None:
        """How many processes of a pool fit on one of them; None for any number."""
        if not pool.labels.items() <= self.labels.items():
            return 0
        wanted = {"CPU": pool.num_cpus, "GPU": pool.num_gpus, "memory": pool.memory}
        fits = [
            math.floor(self.resources.get(name, 0.0) / amount + 1e-9)
            for name, amount in {**wanted, **pool.resources}.items()
            if amount
        ]
        return min(fits, default=None)


def plan_pools(job: PlanJob, size: str, precision: str, context: int) -> list[PoolPlan]:
    """The pools of a job that reads the parts that are asked for.

    Args:
        job: what is planned.
        size: nested size.
        precision: of weights and KV cache.
        context: tokens a row may reach.

    Raises:
        SettingsError: no such size, stages of a pool are no neighbours, or see
            `check_escalation`.
    """
    towers = [part for part in _TOWERS if part in job.parts]
    path = ["read"] + [{"audio": "mel", "vision": "resize"}[part.value] for part in towers]
    path += ["encode"] * bool(towers) + ["fuse", "decode"] * (Part.text in job.parts) + ["write"]
    asked = PathJob(
        job="plan",
        path=path,
        model=job.model,
        policy=job.policy,
        ple=job.ple,
        executor=job.executor,
    )
    check_escalation(asked)
    config = Config.from_folder(job.model.folder)
    asked = settled(asked, resolve_size(size, config), config)
    others = job.policy.small if is_escalated(asked) else size
    pools, is_store = job.executor.pools, job.ple.placement is PlePlacement.store
    ple = replace(job.ple.load, bits=job.ple.bits)  # those of a store are on its disks
    plans = []
    for name, stages in check_pools(asked):
        parts = [part.value for part in towers] if "encode" in stages else []
        parts += ["text"] if {"fuse", "decode"} & set(stages) else []
        settings: PoolSettings = getattr(pools, name)
        own = size if name == ESCALATE else others
        items: list[Item] = []
        if parts:
            planned = plan_memory(
                job.model.path,
                own,
                parts,
                precision,
                ple,
                context,
                settings.batch,
                bool(job.pack.value),
                job.encode.precision.value,
                Media(largest_side(job.resize, job.model.folder)),
            )
            items = planned.items
        if is_store:
            items = [item for item in items if item.tier != "disk"]
        plans.append(PoolPlan(name, tuple(stages), settings, own, tuple(items)))
    if is_store and Part.text in job.parts:
        # Whatever size decodes, a store has the whole table: jobs of all sizes share it.
        whole = plan_memory(job.model.path, "full", ["text"], precision, ple, context, 0)
        shards = job.ple.shards
        items = [
            replace(item, parameters=item.parameters // shards, bytes=item.bytes // shards)
            for item in whole.items
            if item.tier == "disk"
        ]
        settings = replace(pools.ple, min=shards, max=shards)
        plans.append(PoolPlan("ple", ("PLE store",), settings, "full", tuple(items)))
    return plans


def node_kinds(address: str) -> list[NodeKind]:
    """The nodes of a running cluster.

    Raises:
        SettingsError: there is none at the address.
    """
    with joined(address) as ray:
        found = [node for node in ray.nodes() if node["Alive"]]
    kinds: dict[str, list[float]] = {}
    for node in found:
        own = {name: amount for name, amount in node["Resources"].items() if _is_shared(name)}
        memory = own.pop("memory", 0.0)  # nodes of a kind differ by some bytes of it
        labels = {name: of for name, of in node["Labels"].items() if name not in _OWN_LABELS}
        kinds.setdefault(json.dumps([own, labels], sort_keys=True), []).append(memory)
    return [
        NodeKind(len(memories), {**own, "memory": min(memories)}, labels)
        for (own, labels), memories in zip(map(json.loads, kinds), kinds.values(), strict=True)
    ]


def _is_shared(resource: str) -> bool:
    return not resource.startswith(_OWN)


def pools_document(plans: list[PoolPlan]) -> list[dict[str, Any]]:
    """Pools, for JSON."""
    return [
        {
            "pool": plan.pool,
            "stages": list(plan.stages),
            "size": plan.size,
            "processes": [plan.settings.min, plan.settings.max],
            "takes": takes(plan.settings),
            "bytes": {tier: plan.bytes(tier) for tier in ("device", "host", "disk")},
            "items": [vars(item) for item in plan.items],
        }
        for plan in plans
    ]


def nodes_document(kinds: list[NodeKind], plans: list[PoolPlan]) -> list[dict[str, Any]]:
    """Nodes, and how many processes of each pool one of them has room for, for JSON."""
    return [
        {**vars(kind), "room": {plan.pool: kind.room(plan.settings) for plan in plans}}
        for kind in kinds
    ]


def takes(pool: PoolSettings) -> dict[str, Any]:
    """What one process of a pool asks of its node, by the names of the settings."""
    numbers = {"num_cpus": pool.num_cpus, "num_gpus": pool.num_gpus, "memory": pool.memory}
    asked: dict[str, Any] = {name: amount for name, amount in numbers.items() if amount}
    return {**asked, **pool.resources, **pool.labels}


def pools_table(size: str, plans: list[PoolPlan]) -> Table:
    """Pools, what their processes take, and what each holds."""
    table = _titled(f"pools of executor=ray, size {size}, a process each")
    for name in ("pool and what it holds", "processes", "takes"):
        table.add_column(name, overflow="fold")
    for name in ("model memory", "disk"):
        table.add_column(name, justify="right", no_wrap=True)
    for plan in plans:
        least, most = plan.settings.min, plan.settings.max
        count = f"{least}" if least == most else f"{least} to {most}"
        asked = " ".join(f"{name}={amount}" for name, amount in takes(plan.settings).items())
        model = plan.bytes("device") + plan.bytes("host")
        head = f"{plan.pool}: {' '.join(plan.stages)}"
        if "decode" in plan.stages and plan.size != size:
            head += f", size {plan.size}"
        table.add_row(head, count, asked, _or_none(model), _or_none(plan.bytes("disk")))
        for item in plan.items:
            on_disk = item.tier == "disk"
            sizes = ("", bytes_text(item.bytes)) if on_disk else (bytes_text(item.bytes), "")
            where = "GPU" if plan.settings.num_gpus and item.tier == "device" else "host"
            table.add_row(f"  {item.what}", "", "mapped" if on_disk else where, *sizes)
    table.caption = (
        "What is in the file's own number format and on the host is mapped: one copy a node, "
        "however many processes."
    )
    table.caption_justify = "left"
    return table


def nodes_table(address: str, kinds: list[NodeKind], plans: list[PoolPlan]) -> Table:
    """How many processes of each pool a node of each kind has room for, if it had no others."""
    table = _titled(f"nodes of {address}: processes of each pool that one has room for")
    table.add_column("nodes", justify="right")
    table.add_column("each has", overflow="fold")
    for plan in plans:
        table.add_column(plan.pool, justify="right", no_wrap=True)
    for kind in kinds:
        own = {
            name: bytes_text(round(amount)) if name == "memory" else f"{amount:g}"
            for name, amount in kind.resources.items()
        }
        has = " ".join(f"{name}={amount}" for name, amount in {**own, **kind.labels}.items())
        rooms = (kind.room(plan.settings) for plan in plans)
        table.add_row(str(kind.count), has, *("any" if r is None else str(r) for r in rooms))
    lacking = [
        f"{plan.pool} (at least {plan.settings.min})"
        for plan in plans
        if sum(kind.count * _many(kind.room(plan.settings)) for kind in kinds) < plan.settings.min
    ]
    if lacking:
        table.caption = f"No room for {', '.join(lacking)}: a run would wait until nodes come."
        table.caption_justify = "left"
    return table


def _many(room: int | None) -> float:
    return math.inf if room is None else room


def _or_none(some: int) -> str:
    return bytes_text(some) if some else ""


def _titled(title: str) -> Table:
    return Table(title=title, box=SIMPLE_HEAD, pad_edge=False, title_justify="left")
