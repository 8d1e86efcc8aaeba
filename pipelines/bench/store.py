"""PLE rows from a store of Ray actors: what a shard gives, and decoding against rows in memory.

Tokens are sampled, so that random weights ask for rows from all over the table: the worst that can
be for a row cache.
"""

from dataclasses import replace

import torch

from gemma3n import Gemma3n, load
from gemma3n.config import Config
from gemma3n.generate import Generation
from gemma3n.sampling import Sampling
from gemma3n.tables import ple_table
from pipelines.bench.ple import table_figures
from pipelines.bench.speed import decode_speed
from pipelines.bench.table import Bench
from pipelines.nested import nested_size
from pipelines.ple_store import Store, StoreTable, store_here, stored_table
from pipelines.settings import BenchJob

_PROMPT = 512  # rows of a call
_ROWS = 4096  # different ones that a shard is asked for, over and over


def bench_store(job: BenchJob) -> Bench:
    """Measure, each way in turn, over and over.

    Raises:
        SettingsError: no such checkpoint, size or precision, or quantised rows that cannot be had.
    """
    job = replace(job, model=job.model.pinned())
    placed = replace(job.ple.anywhere().load, bits=job.ple.bits, folder=job.ple.folder)
    model = load(
        job.model.path,
        nested_size(job.nested, Config.from_folder(job.model.folder)),
        parts=["text"],
        precision=job.precision.value,
        pack=job.pack.value,
    )
    in_memory = replace(placed, placement="resident")
    resident = ple_table(model.checkpoint, model.size, in_memory, model.device)
    runs: list[dict[str, float]] = []
    with store_here(job.model.path, job.ple.shards, placed) as store:
        # Without somebody who asks it between two measurements, the store would end.
        held = StoreTable(store, model.checkpoint)
        for number in range(job.repeat):
            run = _shards(store, model, job.rows)
            model.text.table = resident
            run |= _figures(model, job, number, 1, "in memory")
            for groups in (1, 2):
                name = "store" if groups == 1 else f"store, {groups} groups"
                model.text.table = stored_table(store, model)  # with an empty row cache
                run |= _figures(model, job, number, groups, name)
                ratio = run[f"{name}: tokens/s"] / run["in memory: tokens/s"]
                run[f"{name} to in memory: tokens/s"] = ratio
            asked_s = run["store: rows moved a step"] * run["in memory: tokens/s"] / job.rows
            a_shard = run[f"a shard, {job.rows} a call: rows/s"]
            run["decoders at in-memory speed that a shard feeds"] = a_shard / max(asked_s, 1e-9)
            runs.append(run)
        del held
    title = (
        f"{job.model.path}, {job.rows} rows, {job.new_tokens} new tokens each: PLE rows from "
        f"{job.ple.shards} shards, ple.bits={job.ple.bits}, ple.cache_rows={job.ple.cache_rows}"
    )
    asked = {"model": job.model.path, "rows": job.rows, "shards": job.ple.shards}
    return Bench(title, asked, runs)


def _shards(store: Store, model: Gemma3n, rows: int) -> dict[str, float]:
    """What one shard of a store gives, asked by one process: for a step of rows, and a prompt."""
    found: dict[str, float] = {}
    vocab = model.config.text.vocab_size_per_layer_input
    drawn = torch.Generator().manual_seed(0)
    layers = model.size.layers(model.config.text)
    for count in (rows, _PROMPT):
        # All of the first shard, which has the multiples of how many there are.
        some = (max(1, _ROWS // count), count)
        ids = torch.randint(vocab // store.shards, some, generator=drawn) * store.shards
        table = StoreTable(store, model.checkpoint)
        for call in ids:  # from the disk, once
            table.rows(call, layers)
        what = f"a shard, {count} a call"
        figures = table_figures(what, table, ids, layers, over_again=True)
        found |= {f"{what}: {unit}": figures[f"{what}: {unit}"] for unit in ("rows/s", "MB/s")}
    return found


def _figures(model: Gemma3n, job: BenchJob, seed: int, groups: int, what: str) -> dict[str, float]:
    sampling = Sampling(job.new_tokens, temperature=1.0, stop_ids=[])
    generation = Generation(model, sampling, slots=job.rows, groups=groups)
    before = model.text.table.traffic.copy()
    speed = decode_speed(generation, job, seed)
    did = model.text.table.traffic.since(before)
    return {
        f"{what}: tokens/s": speed,
        f"{what}: waited, ms a step of all rows": 1e3 * did.wait_seconds / job.new_tokens,
        f"{what}: rows that were kept, %": 100 * (did.hit_rate or 0.0),
        f"{what}: rows moved a step": did.moved / job.new_tokens,
        f"{what}: MB moved a step": did.bytes / job.new_tokens / 1e6,
    }
