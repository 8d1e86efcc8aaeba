"""How fast a PLE table gives rows: from its file cold and warm, from memory, or from a store."""

import resource
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from gemma3n.checkpoint import Checkpoint
from gemma3n.matformer import NestedSize
from gemma3n.placement import Ple
from gemma3n.tables import beside, file_table, ple_table
from gemma3n.text.ple import FileTable, PleTable
from pipelines.bench.table import Bench
from pipelines.bench.text import curve, read_ids
from pipelines.nested import nested_size
from pipelines.page_cache import evict
from pipelines.ple_store import StoreTable, store_here
from pipelines.reuse import in_turns
from pipelines.settings import BenchJob, PlePlacement

_CALLS = (1, 32, 512)  # rows of one call: a token of one row, of a batch, and a prompt
_SECONDS = 0.5  # that a figure is measured for, at the most
_COLD_ROWS = 4096  # read cold for a figure, at the most


def bench_ple(job: BenchJob) -> Bench:
    """Measure.

    Returns:
        Figures of each repetition; of a file also cold. With `text`, ids are those of the text,
        and the hit rates of row caches on it are told; without, any row is as likely as another.

    Raises:
        SettingsError: no such checkpoint, size or text, or quantised rows that cannot be had.
    """
    job = replace(job, model=job.model.pinned())
    checkpoint = Checkpoint(job.model.path, ["text"])
    size = nested_size(job.nested, checkpoint.config)
    layers = size.layers(checkpoint.config.text)
    vocab = checkpoint.config.text.vocab_size_per_layer_input
    fixed: dict[str, Any] = {}
    if job.text:
        ids = read_ids(job.text, job.tokenizer or checkpoint.folder / "tokenizer.model")
        fixed = {"tokens": float(len(ids)), **curve(ids, job.rows)}
        tokens = torch.from_numpy(in_turns(ids, job.rows))
        tokens = tokens[tokens < vocab]
    else:
        tokens = torch.randint(vocab, (1 << 17,), generator=torch.Generator().manual_seed(0))
    runs: list[dict[str, Any]] = []
    with _table(job, checkpoint, size) as (table, file):
        for _ in range(job.repeat):
            run: dict[str, Any] = dict(fixed)
            for count in _CALLS:
                calls = tokens[: len(tokens) // count * count].view(-1, count)
                if not len(calls):
                    continue
                some = calls[: max(1, _COLD_ROWS // count)]
                if file is not None:
                    evict(file.path)
                    run |= table_figures(f"cold, {count} a call", table, some, layers)
                for ids in some:
                    table.rows(ids, layers)
                run |= table_figures(f"warm, {count} a call", table, some, layers, over_again=True)
                if job.ple.cache_rows:
                    cached = beside(
                        table, checkpoint, size, _placed(job), torch.device("cpu"), apart=True
                    )
                    run |= table_figures(f"row cache, {count} a call", cached, calls, layers)
            runs.append(run)
    asked = {
        "model": job.model.path,
        "ple": asdict(job.ple.anywhere().load) | {"bits": job.ple.bits},
        "placement": job.ple.placement.value,
        "shards": job.ple.shards,
        "text": job.text,
        "rows": job.rows,
    }
    title = (
        f"PLE rows of {job.model.path}, {len(layers)} layers: ple={job.ple.placement.value} "
        f"ple.bits={job.ple.bits}, {job.repeat} runs"
    )
    return Bench(title, asked, runs)


def _placed(job: BenchJob) -> Ple:
    """How a load would place the table; of a store, its rows and its cache."""
    settings = job.ple.anywhere()
    return replace(settings.load, bits=settings.bits, folder=settings.folder)


@contextmanager
def _table(
    job: BenchJob, checkpoint: Checkpoint, size: NestedSize
) -> Iterator[tuple[PleTable, FileTable | None]]:
    """The table of what is kept, without a row cache; and its file, if rows are read from there."""
    placed = replace(_placed(job), cache_rows=0)
    match job.ple.placement:
        case PlePlacement.resident:
            table = ple_table(checkpoint, size, placed, torch.device("cpu"))
            yield table, None
        case PlePlacement.mmap:
            file = file_table(checkpoint, placed)
            yield file, file
        case PlePlacement.store:
            with store_here(job.model.path, job.ple.shards, placed) as store:
                yield StoreTable(store, checkpoint), None


def table_figures(
    what: str, table: PleTable, calls: Tensor, layers: Sequence[int], over_again: bool = False
) -> dict[str, float]:
    """What it takes to read the rows of calls, int64 [calls, rows], one after the other."""
    order = cycle(range(len(calls))) if over_again else range(len(calls))
    before, used = table.traffic.copy(), resource.getrusage(resource.RUSAGE_SELF)
    start, rows = time.perf_counter(), 0
    for number in order:
        ids = calls[number]
        table.ahead(ids, layers)
        table.rows(ids, layers)
        rows += len(ids)
        if time.perf_counter() - start > _SECONDS:
            break
    seconds, did = time.perf_counter() - start, table.traffic.since(before)
    more = resource.getrusage(resource.RUSAGE_SELF)
    faults = more.ru_majflt + more.ru_minflt - used.ru_majflt - used.ru_minflt
    return {
        f"{what}: rows/s": rows / seconds,
        f"{what}: MB/s": did.bytes / seconds / 1e6,
        f"{what}: page faults/row": faults / rows,
        f"{what}: kB from disk/row": (more.ru_inblock - used.ru_inblock) * 0.512 / rows,
        f"{what}: rows moved, %": 100 * did.moved / did.rows,
    }
