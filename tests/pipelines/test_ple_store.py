"""PLE rows from Ray actors are those of the file, whatever dies."""

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray
import torch
from ray.exceptions import RayActorError

from gemma3n.checkpoint import Checkpoint
from gemma3n.named import checkpoint_folder
from gemma3n.weights import file_table
from pipelines.ple_store import Store, StoreTable
from pipelines.settings import PathJob

pytestmark = pytest.mark.slow

IDS, LAYERS = torch.tensor([5, 3, 3, 630, 2, 0, 1]), [0, 2, 7]
FILE = file_table(Checkpoint(checkpoint_folder("nano"), ["text"]))


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_come_back_in_the_order_of_their_ids(shards: int) -> None:
    table = StoreTable(Store.of(job(shards), "nano"))
    assert torch.equal(table.rows(IDS, LAYERS), FILE.rows(IDS, LAYERS))
    assert torch.equal(table.rows(IDS[:1], range(8)), FILE.rows(IDS[:1], range(8)))
    assert table.rows(IDS[:0], LAYERS).shape == (0, 3, FILE.shape[1])
    assert table.asked == 7
    assert table.bytes == table.rows(IDS.unique(), LAYERS).nbytes + 8 * FILE.shape[1] * 2
    assert table.waited_seconds > 0


def test_two_jobs_share_a_store() -> None:
    one, other = (StoreTable(Store.of(job(2), "nano")) for _ in range(2))
    actors = [[shard._actor_id for shard in table._shards] for table in (one, other)]
    assert actors[0] == actors[1]


def test_a_node_with_another_checkpoint_says_so() -> None:
    store = replace(Store.of(job(1), "nano"), digest="other")
    with pytest.raises(RayActorError, match="holds another checkpoint than where the job decodes"):
        ray.get(store.shard(0).rows.remote([1], [0]))


@pytest.mark.parametrize("again", [True, False])
def test_a_shard_that_dies_is_found_anew(again: bool) -> None:
    table = StoreTable(Store.of(job(2), "nano"))
    ray.kill(table._shards[0], no_restart=not again)
    assert torch.equal(table.rows(IDS, LAYERS), FILE.rows(IDS, LAYERS))


def job(shards: int) -> PathJob:
    made = PathJob(job="test")
    made.ple.shards = shards
    return made
