"""PLE rows from Ray actors are those of the file, whatever dies."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import ray
import torch
from ray.exceptions import RayActorError

import gemma3n
from gemma3n.checkpoint import Checkpoint
from gemma3n.named import checkpoint_folder
from gemma3n.tables import file_table
from pipelines.ple_store import Store, StoreTable, stored_table
from pipelines.settings import PathJob

pytestmark = pytest.mark.slow

IDS, LAYERS = torch.tensor([5, 3, 3, 630, 2, 0, 1]), [0, 2, 7]
NANO = Checkpoint(checkpoint_folder("nano"), ["text"])
FILE = file_table(NANO)


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init("local", num_cpus=2, include_dashboard=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.parametrize("shards", [1, 3])
def test_rows_come_back_in_the_order_of_their_ids(shards: int) -> None:
    table = StoreTable(Store.of(job(shards), "nano"), NANO)
    assert torch.equal(table.rows(IDS, LAYERS), FILE.rows(IDS, LAYERS))
    assert torch.equal(table.rows(IDS[:1], range(8)), FILE.rows(IDS[:1], range(8)))
    assert table.rows(IDS[:0], LAYERS).shape == (0, 3, FILE.shape[1])
    assert (table.traffic.rows, table.traffic.moved) == (8, 7)
    assert table.traffic.bytes == table.rows(IDS.unique(), LAYERS).nbytes + 8 * FILE.shape[1] * 2
    assert table.traffic.wait_seconds > 0


@pytest.mark.parametrize("bits", [16, 8, 4])
def test_a_decoder_has_a_cache_of_what_the_store_gives(tmp_path: Path, bits: int) -> None:
    settings = job(2)
    settings.ple.bits, settings.ple.folder, settings.ple.cache_rows = bits, str(tmp_path), 5
    model = gemma3n.load("nano", parts=["text"], precision="float32", device="cpu")
    placed = gemma3n.Ple("resident", bits)
    alone = gemma3n.load("nano", parts=["text"], precision="float32", device="cpu", ple=placed)
    model.text.table = stored_table(Store.of(settings, "nano"), model)
    ids = [[5, 3, 3, 630, 2]]
    said = model.generate_ids(ids, max_new_tokens=4, stop_ids=[])
    assert said == alone.generate_ids(ids, max_new_tokens=4, stop_ids=[])
    traffic = model.text.table.traffic
    width = {16: 2 * 16, 8: 16 + 2, 4: 8 + 2}[bits]
    assert 0 < traffic.bytes == traffic.moved * 8 * width
    assert traffic.moved < traffic.rows


def test_two_jobs_share_a_store() -> None:
    one, other = (StoreTable(Store.of(job(2), "nano"), NANO) for _ in range(2))
    actors = [[shard._actor_id for shard in table._shards] for table in (one, other)]
    assert actors[0] == actors[1]


def test_a_node_with_another_checkpoint_says_so() -> None:
    store = replace(Store.of(job(1), "nano"), digest="other")
    with pytest.raises(RayActorError, match="holds another checkpoint than where the job decodes"):
        ray.get(store.shard(0).rows.remote([1], [0]))


@pytest.mark.parametrize("again", [True, False])
def test_a_shard_that_dies_is_found_anew(again: bool) -> None:
    table = StoreTable(Store.of(job(2), "nano"), NANO)
    ray.kill(table._shards[0], no_restart=not again)
    assert torch.equal(table.rows(IDS, LAYERS), FILE.rows(IDS, LAYERS))


def job(shards: int) -> PathJob:
    made = PathJob(job="test")
    made.ple.shards = shards
    return made
