"""Decode speed with the PLE table in memory against on a disk that is cold.

Each run is a process of its own. Every token reads a row drawn at random from the whole table, the
worst that can be: no text is so varied, and no page cache smaller than the table helps much. The
process on the cold disk has its memory limited, so that its weights fit and the table does not;
where that cannot be, the table is dropped from the page cache after every token.
"""

import json
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.matformer import NestedSize
from gemma3n.memory import GB
from gemma3n.placement import Ple
from pipelines.bench.decode import run_apart
from pipelines.bench.table import Bench
from pipelines.cgroup import Group, limited
from pipelines.nested import nested_size
from pipelines.page_cache import evict
from pipelines.plan import check_context
from pipelines.settings import BenchJob

if TYPE_CHECKING:
    from torch import Tensor

    from gemma3n.text.ple import PleTable, Traffic


def bench_tiers(job: BenchJob) -> Bench:
    """Measure.

    Raises:
        SettingsError: no such checkpoint, size or precision, a limit that cannot be set, or a run
            that failed.
    """
    job = replace(job, model=job.model.pinned())
    config = Config.from_folder(job.model.folder)
    check_context("prompt_tokens and new_tokens", job.prompt_tokens + job.new_tokens, config)
    checkpoint = Checkpoint(job.model.path, ["text"])
    placed = replace(job.ple.anywhere().load, bits=job.ple.bits)
    wanted = {
        "folder": job.model.path,
        "nested": asdict(nested_size(job.nested, config)),
        "precision": job.precision.value,
        "prompt_tokens": job.prompt_tokens,
        "new_tokens": job.new_tokens,
        "rows": job.rows,
    }
    runs: list[dict[str, Any]] = []
    for _ in range(job.repeat):
        resident = _run(wanted, replace(placed, placement="resident"), None)
        with ExitStack() as opened:
            group = None
            if job.memory_gb:
                group = opened.enter_context(limited(round(job.memory_gb * GB)))
            for file in {entry.file for entry in checkpoint.entries.values()}:
                evict(file)  # what another process brought would not count for this one
            cold = _run(wanted, replace(placed, placement="mmap"), group)
        ratio = cold["tokens/s"] / resident["tokens/s"]
        runs.append(
            {f"in memory: {name}": value for name, value in resident.items()}
            | {f"cold disk: {name}": value for name, value in cold.items()}
            | {"cold disk to memory: tokens/s": ratio}
        )
    limit = f"in {job.memory_gb:g} GB" if job.memory_gb else "dropped after every token"
    title = (
        f"{job.model.path}: {job.rows} rows, {job.new_tokens} new tokens each, "
        f"ple.bits={job.ple.bits}, the table in memory and on a cold disk ({limit})"
    )
    return Bench(title, wanted | {"ple": asdict(placed), "memory_gb": job.memory_gb}, runs)


def measure(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Decode in this process, and say what a token took once all weights have been touched."""
    if wanted["group"] is not None:
        group = Group(Path(wanted["group"]["folder"]), wanted["group"]["peak_name"])
        group.join()
    import torch

    import gemma3n
    from gemma3n.generate import Prompt
    from gemma3n.sampling import Sampling

    placed = Ple(**wanted["ple"])
    model = gemma3n.load(
        wanted["folder"],
        nested=NestedSize.from_skip(**wanted["nested"]),
        parts=["text"],
        precision=wanted["precision"],
        device="cpu",
        ple=placed,
    )
    vocab = model.config.text.vocab_size_per_layer_input
    drawn = torch.Generator().manual_seed(0)
    size = (wanted["rows"], wanted["prompt_tokens"])
    prompts = [Prompt(ids.tolist()) for ids in torch.randint(4, vocab, size, generator=drawn)]
    model.text.table = table = _Anywhere(model.text.table, vocab)
    steps: list[_Step] = []

    def on_token(row: int, token: int) -> None:
        if row == 0:
            steps.append(_Step(table.traffic.copy()))
            if wanted["group"] is None and placed.placement == "mmap":
                table.drop()

    model.complete(prompts, Sampling(wanted["new_tokens"], stop_ids=[]), on_token=on_token)
    # The first step brings weights that no prompt needs, such as those of the output head.
    first, last = steps[1], steps[-1]
    tokens = (len(steps) - 2) * wanted["rows"]
    seconds, did = last.time - first.time, last.traffic.since(first.traffic)
    return {
        "tokens/s": tokens / seconds,
        "waited for rows, %": 100 * did.wait_seconds / seconds,
        "major faults/token": (last.used.ru_majflt - first.used.ru_majflt) / tokens,
        "minor faults/token": (last.used.ru_minflt - first.used.ru_minflt) / tokens,
        "kB from disk/token": (last.used.ru_inblock - first.used.ru_inblock) * 0.512 / tokens,
        **({} if wanted["group"] is None else {"peak of the cgroup": group.peak_bytes}),
    }


class _Step:
    """What was used up to a token."""

    def __init__(self, traffic: "Traffic") -> None:
        self.time, self.traffic = time.perf_counter(), traffic
        self.used = resource.getrusage(resource.RUSAGE_SELF)


class _Anywhere:
    """A table of which other rows are read than are asked for, drawn from all of it."""

    def __init__(self, table: "PleTable", vocab: int) -> None:
        import torch

        self.table, self.vocab, self.waits = table, vocab, table.waits
        self._drawn = torch.Generator().manual_seed(1)
        self._next: Tensor | None = None

    @property
    def traffic(self) -> "Traffic":
        return self.table.traffic

    def rows(self, token_ids: "Tensor", layers: Sequence[int]) -> "Tensor":
        ids, self._next = self._ids(len(token_ids)), None
        return self.table.rows(ids, layers)

    def ahead(self, token_ids: "Tensor", layers: Sequence[int]) -> None:
        self._next = self._ids(len(token_ids))
        self.table.ahead(self._next, layers)

    def drop(self) -> None:
        """Out of the page cache with the table's file."""
        from gemma3n.text.ple import FileTable, PackedTable

        table = self.table.table if isinstance(self.table, PackedTable) else self.table
        if isinstance(table, FileTable):
            evict(table.path, table.offset, table.row_bytes * self.vocab)

    def _ids(self, count: int) -> "Tensor":
        import torch

        if self._next is not None and len(self._next) == count:
            return self._next  # those that `ahead` asked for
        return torch.randint(self.vocab, (count,), generator=self._drawn)


def _run(wanted: Mapping[str, Any], placed: Ple, group: Group | None) -> dict[str, Any]:
    more = {
        "ple": asdict(placed),
        "group": group and {"folder": str(group.folder), "peak_name": group.peak_name},
    }
    return run_apart("pipelines.bench.tiers", {**wanted, **more})


if __name__ == "__main__":
    sys.stdout.write(json.dumps(measure(json.loads(sys.argv[1]))))
