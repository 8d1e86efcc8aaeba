"""The PLE table as Ray actors, shards of the vocabulary: any number of decoders ask them for rows.

A shard is found by its name, and several jobs share a store. The driver that made it holds it; one
that has died with its driver is made anew by whoever asks first.
"""

import logging
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gemma3n.checkpoint import Checkpoint
from gemma3n.errors import SettingsError
from gemma3n.model import Gemma3n
from gemma3n.named import checkpoint_folder
from gemma3n.packed_file import packing_of
from gemma3n.placement import Ple
from gemma3n.tables import beside, file_table
from gemma3n.text.ple import PleTable, Traffic
from pipelines.fingerprint import checkpoint_digest
from pipelines.ray_address import connect
from pipelines.settings import PathJob, PoolSettings

logger = logging.getLogger(__name__)

NAMESPACE = "gemma3n"
_TRIES, _FIRST_WAIT_S = 9, 0.1  # each wait is twice the one before: 25 s in all


@dataclass(frozen=True)
class Store:
    """Where a store's shards are found, and how they are made."""

    folder: str  # or name, of the checkpoint, as each node finds it
    digest: str  # of what is in it
    shards: int
    pool: PoolSettings  # of whoever is first to make a shard
    ple: Ple  # rows of how many bits, and where each node keeps quantised ones

    @classmethod
    def of(cls, job: PathJob, folder: str) -> "Store":
        """The store that a job asks."""
        digest = checkpoint_digest(checkpoint_folder(folder))
        ple = replace(job.ple.anywhere().load, bits=job.ple.bits, folder=job.ple.folder)
        return cls(folder, digest, job.ple.shards, job.executor.pools.ple, ple)

    def shard(self, number: int) -> Any:
        """One of its shards, made if there is none."""
        import ray

        pool = self.pool
        made = ray.remote(_Shard).options(
            name=f"ple-{self.digest[:16]}-int{self.ple.bits}-{number}-of-{self.shards}",
            namespace=NAMESPACE,
            get_if_exists=True,
            num_cpus=pool.num_cpus,
            num_gpus=pool.num_gpus or None,
            memory=pool.memory or None,
            resources=pool.resources or None,
            label_selector=pool.labels or None,
            scheduling_strategy="SPREAD",
            max_restarts=-1,
            max_task_retries=-1,
            max_concurrency=4,
        )
        shard: Any = made.remote(self.folder, self.digest, self.ple)
        return shard


@contextmanager
def store_here(folder: str, shards: int, ple: Ple) -> Iterator[Store]:
    """A store on a Ray cluster of this machine, for as long as the block; see `Store`."""
    connect(None, include_dashboard=False, logging_level=logging.ERROR)
    import ray

    try:
        digest = checkpoint_digest(checkpoint_folder(folder))
        yield Store(folder, digest, shards, PoolSettings(num_cpus=0.1), ple)
    finally:
        ray.shutdown()


class _Shard:
    """Answers for its part of the vocabulary: rows that nobody asks it for it never reads."""

    def __init__(self, folder: str, digest: str, ple: Ple) -> None:
        if checkpoint_digest(checkpoint_folder(folder)) != digest:
            raise SettingsError(
                f"'{folder}' on {platform.node()} holds another checkpoint than where the job "
                "decodes. Give all nodes the same."
            )
        self.table = file_table(_checkpoint(folder), ple)

    def rows(self, token_ids: Any, layers: list[int]) -> Any:
        """Rows [n, layers, ple] of token ids, as bytes."""
        found = self.table.rows(torch.tensor(token_ids), layers)
        return found.contiguous().view(torch.uint8).numpy()


def _checkpoint(folder: str) -> Checkpoint:
    return Checkpoint(checkpoint_folder(folder), ["text"])


def stored_table(store: Store, model: Gemma3n) -> PleTable:
    """What a decoder asks in the place of its own table: a store, with a row cache in front.

    Args:
        store: where the rows are.
        model: that decodes, with its text part loaded.
    """
    table = StoreTable(store, model.checkpoint)
    return beside(table, model.checkpoint, model.size, store.ple, model.device, apart=True)


class StoreTable:
    """A `PleTable` whose rows are in a store; of quantised rows, a table of blocks."""

    waits = True

    def __init__(self, store: Store, checkpoint: Checkpoint) -> None:
        """Find the shards.

        Args:
            store: where they are.
            checkpoint: whose table it is; only its header is read.
        """
        self._store = store
        self._shards = [store.shard(number) for number in range(store.shards)]
        self._earlier: list[Any] = []
        if store.ple.bits < 16:
            self._dtype = torch.uint8
            self._ple = packing_of(checkpoint, store.ple.bits).block_bytes
        else:
            table = file_table(checkpoint)
            self._dtype, self._ple = table.dtype, table.shape[1]
        self.traffic = Traffic()

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """See `PleTable.rows`: one call a shard, each row once, all shards at the same time."""
        with self.traffic.waiting():
            ids, places = token_ids.cpu().unique(return_inverse=True)
            rows = torch.empty((len(ids), len(layers), self._ple), dtype=self._dtype)
            owners = ids % self._store.shards
            asked = [
                (number, mine, self._ask(number, ids[mine], layers))
                for number in range(self._store.shards)
                if len(mine := (owners == number).nonzero().flatten())
            ]
            for number, mine, answer in asked:
                rows[mine] = self._answer(number, answer, ids[mine], layers)
        self.traffic.rows += len(places)
        self.traffic.moved += len(ids)
        self.traffic.bytes += rows.nbytes
        return rows[places]

    def ahead(self, token_ids: Tensor, layers: Sequence[int]) -> None:
        """See `PleTable.ahead`: a thread of the row cache in front of it asks."""

    def _ask(self, number: int, ids: Tensor, layers: Sequence[int]) -> Any:
        return self._shards[number].rows.remote(ids.numpy(), list(layers))

    def _answer(self, number: int, answer: Any, ids: Tensor, layers: Sequence[int]) -> Tensor:
        """What a shard says; one that has died is found anew, and asked again."""
        import ray
        from ray.exceptions import ObjectLostError, RayActorError

        for attempt in range(_TRIES):
            try:
                found = torch.tensor(ray.get(answer))
                return found.view(self._dtype).view(len(ids), len(layers), self._ple)
            except (RayActorError, ObjectLostError) as error:
                if attempt == _TRIES - 1:
                    raise
                why = str(error).partition("\n")[0]
                logger.warning("PLE shard %d is asked again: %s", number, why)
                time.sleep(_FIRST_WAIT_S * 2**attempt)
                # The earlier handle is kept: with the last one that made it, a shard ends.
                self._earlier.append(self._shards[number])
                self._shards[number] = self._store.shard(number)
                answer = self._ask(number, ids, layers)
        raise AssertionError
