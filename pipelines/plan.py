"""What a checkpoint needs at each nested size, tier by tier, as a table or as JSON.

The arithmetic is `gemma3n/memory.py`; only headers of files are read, and no torch is loaded.
"""

import json
import sys
from dataclasses import asdict, replace

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemma3n.activations import Media
from gemma3n.checkpoint import Checkpoint
from gemma3n.choices import Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import named_sizes
from gemma3n.memory import MemoryPlan, plan_memory
from gemma3n.rounded import rounded
from pipelines.console import console
from pipelines.exit_code import DONE
from pipelines.plan_fit import Planned, fit_document, fit_lines, room_of, what_fits
from pipelines.settings import ExecutorKind, PlanJob
from stages.resize import largest_side

_CONTEXT = 4096  # tokens, unless asked otherwise
_TIERS = ("device", "host", "disk")


def plan(job: PlanJob) -> int:
    """Print the plan of every size asked for.

    Returns:
        Exit code.

    Raises:
        SettingsError: no such checkpoint or size, nothing to plan, or a context that the checkpoint
            does not have.
    """
    for name in ("context", "batch"):
        if (value := getattr(job, name)) is not None and value < 1:
            raise SettingsError(f"{name}={value}; at least 1. Leave it out for the default.")
    for name in ("sizes", "parts"):
        if not getattr(job, name):
            raise SettingsError(f"{name}=[]; at least one. Leave it out for the default.")
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    context = job.context or min(_CONTEXT, config.text.max_position_embeddings)
    check_context(f"context={context}", context, config)
    # What `auto` is on the machine that will run it is not known here; most have bfloat16.
    asked = Precision.bfloat16 if job.precision is Precision.auto else job.precision
    own = rounded(config)
    precision = asked if own is None else own.weights
    parts = [part.value for part in job.parts]
    checkpoint = Checkpoint(job.model.path, parts, bring=False)

    media = Media(largest_side(job.resize, job.model.folder))

    def planned(size: str, precision: Precision) -> MemoryPlan:
        return plan_memory(
            checkpoint,
            nested=size,
            parts=parts,
            precision=precision.value,
            ple=replace(job.ple.load, bits=job.ple.bits),  # those of a store are on its disks
            context=context,
            batch=job.batch,
            pack=bool(job.pack.value),
            towers=job.encode.precision.value,
            media=media,
        )

    plans = {size: planned(size, precision) for size in job.sizes}
    room = room_of(job.machine)
    document = _document(job, precision, context, plans)
    document["fit"] = {"machine": job.machine.value, **fit_document(plans, room)}
    title = f"{job.model.path}, weights in {precision.value}"
    tables = [_table(title, plans)]
    if job.executor.kind is ExecutorKind.ray:
        more, others = _pools(job, precision, context)
        document |= more
        tables += others
    if job.json:
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    else:
        out = console()
        out.print(*tables)
        instead = None if own else what_fits(planned, _by_size(config, planned), precision, room)
        for line in fit_lines(job.machine, plans, instead, room):
            out.print(line, soft_wrap=True)
    return DONE


def _by_size(config: Config, planned: Planned) -> list[str]:
    """Names of the checkpoint's nested sizes, the largest first."""
    weights = {name: planned(name, Precision.bfloat16).parameters for name in named_sizes(config)}
    return sorted(weights, key=weights.__getitem__, reverse=True)


def _pools(
    job: PlanJob, precision: Precision, context: int
) -> tuple[dict[str, object], list[Table]]:
    """The same for the pools of `executor=ray`, for JSON and as tables."""
    from pipelines.plan_pools import (
        node_kinds,
        nodes_document,
        nodes_table,
        plan_pools,
        pools_document,
        pools_table,
    )

    sizes = {size: plan_pools(job, size, precision.value, context) for size in job.sizes}
    document: dict[str, object] = {
        "pools": {size: pools_document(plans) for size, plans in sizes.items()}
    }
    tables = [pools_table(size, plans) for size, plans in sizes.items()]
    if (address := job.executor.address) is not None:
        plans, kinds = sizes[job.sizes[0]], node_kinds(address)
        document["nodes"] = nodes_document(kinds, plans)
        tables.append(nodes_table(address, kinds, plans))
    return document, tables


def check_context(what: str, tokens: int, config: Config) -> None:
    """Refuse more tokens than the checkpoint has positions.

    Args:
        what: asks for them, for the message.
        tokens: of one row.
        config: of the checkpoint.

    Raises:
        SettingsError: it has fewer positions.
    """
    limit = config.text.max_position_embeddings
    if tokens > limit:
        raise SettingsError(
            f"{what}: {tokens} tokens a row, but this checkpoint goes up to {limit} "
            "(max_position_embeddings). Ask for fewer."
        )


def _document(
    job: PlanJob, precision: Precision, context: int, plans: dict[str, MemoryPlan]
) -> dict[str, object]:
    return {
        "model": job.model.path,
        "precision": precision.value,
        "encode.precision": job.encode.precision.value,
        "ple": job.ple.placement.value,
        "ple.bits": job.ple.bits,
        "context": context,
        "batch": job.batch,
        "sizes": [
            {
                "asked": asked,
                "size": plan.size,
                "parameters": plan.parameters,
                "bytes": {tier: plan.tier(tier) for tier in _TIERS},
                "items": [asdict(item) for item in plan.items],
            }
            for asked, plan in plans.items()
        ],
    }


def _table(title: str, plans: dict[str, MemoryPlan]) -> Table:
    table = Table(
        title=title,
        caption="host: its memory. disk: left in the file, rows are read as tokens need them.",
        box=SIMPLE_HEAD,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("size and parts", overflow="fold")
    for name in ("parameters", *_TIERS):
        table.add_column(name, justify="right", no_wrap=True)
    for asked, plan in plans.items():
        name = asked if asked == plan.size else f"{asked}: here {plan.size}"
        totals = (_bytes(plan.tier(tier)) for tier in _TIERS)
        table.add_row(name, _count(plan.parameters), *totals, style="bold")
        for item in plan.items:
            tiers = (_bytes(item.bytes) if item.tier == tier else "" for tier in _TIERS)
            parameters = _count(item.parameters) if item.parameters else ""
            table.add_row(f"  {item.what}", parameters, *tiers)
        table.add_section()
    return table


def _bytes(number: int) -> str:
    return _scaled(number, {"GB": 1e9, "MB": 1e6, "kB": 1e3, "B": 1})


def _count(number: int) -> str:
    return _scaled(number, {"B": 1e9, "M": 1e6, "k": 1e3, "": 1})


def _scaled(number: int, units: dict[str, float]) -> str:
    """Three digits and a unit: 4.46 B parameters, 312 MB."""
    for unit, worth in units.items():
        # What is shown is rounded: 999 500 is 1.00 M, not 1000 k.
        if number >= 0.9995 * worth:
            scaled = number / worth
            digits = 0 if worth == 1 or scaled >= 99.95 else 1 if scaled >= 9.995 else 2
            return f"{scaled:.{digits}f} {unit}".strip()
    return "0"
