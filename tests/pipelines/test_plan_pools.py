"""`gemma3n plan executor=ray`: what pools hold and where they have room; Ray is not started."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from gemma3n.memory import plan_memory
from pipelines import plan_pools
from pipelines.cli import main
from pipelines.settings import PoolSettings

NODES = [
    {
        "Alive": True,
        "Resources": {"CPU": 8.0, "memory": 4e9, "encoder": 3.0, "node:1.2.3.4": 1.0},
        "Labels": {"ray.io/node-id": "a", "zone": "x"},
    },
    {
        "Alive": True,
        "Resources": {"CPU": 8.0, "memory": 3e9, "encoder": 3.0, "node:1.2.3.5": 1.0},
        "Labels": {"ray.io/node-id": "b", "zone": "x"},
    },
    {"Alive": True, "Resources": {"CPU": 4.0, "GPU": 2.0, "memory": 9e9}, "Labels": {}},
    {"Alive": False, "Resources": {"CPU": 99.0}, "Labels": {}},
]


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def joined(address: str) -> Iterator[Any]:
        yield SimpleNamespace(nodes=lambda: NODES)

    monkeypatch.setattr(plan_pools, "joined", joined)
    monkeypatch.setenv("COLUMNS", "200")


def planned(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main(["plan", "executor=ray", "precision=float32", "json=true", *words]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_encoders_hold_towers_and_decoders_text_with_the_cache_of_their_own_batch(
    checkpoint_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [f"model={checkpoint_folder}", "sizes=[full]", "executor.pools.decode.batch=5"]
    pools = {one["pool"]: one for one in planned(capsys, *words, "context=64")["pools"]["full"]}
    assert list(pools) == ["read", "encode", "decode", "write"]
    towers = plan_memory(checkpoint_folder, "full", ["audio", "vision"], "float32", batch=8)
    text = plan_memory(checkpoint_folder, "full", ["text"], "float32", context=64, batch=5)
    for pool, plan in (("encode", towers), ("decode", text)):
        assert pools[pool]["bytes"]["device"] == plan.tier("device") > 0
        assert [item["what"] for item in pools[pool]["items"]] == [i.what for i in plan.items]
    assert pools["read"]["bytes"] == {"device": 0, "host": 0, "disk": 0}


def test_parts_that_are_not_asked_for_have_no_stages(capsys: pytest.CaptureFixture[str]) -> None:
    pools = planned(capsys, "sizes=[small]", "parts=[text,audio]")["pools"]["small"]
    assert [stage for pool in pools for stage in pool["stages"]] == [
        *("read", "mel", "encode", "fuse", "decode", "write")
    ]


def test_decoders_of_two_sizes_are_pools_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["policy=auto", "executor.pools.escalate.max=2", "executor.pools.escalate.batch=3"]
    found = planned(capsys, *words, "context=64")["pools"]
    pools = {one["pool"]: one for one in found["full"]}
    assert list(pools) == ["read", "encode", "decode", "escalate", "write"]
    assert pools["escalate"]["stages"] == ["decode"]
    for pool, size, batch in (("decode", "small", 8), ("escalate", "full", 3)):
        plan = plan_memory("nano", size, ["text"], "float32", context=64, batch=batch)
        assert pools[pool]["size"] == size
        assert pools[pool]["bytes"]["device"] == plan.tier("device")
        assert pools[pool]["bytes"]["disk"] == plan.tier("disk")
    assert [one["pool"] for one in found["small"]] == ["read", "encode", "decode", "write"]
    assert main(["plan", "executor=ray", *words]) == 0
    assert "decode: fuse decode, size small" in capsys.readouterr().out


def test_a_second_pool_of_decoders_is_refused_where_none_is_needed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["plan", "executor=ray", "executor.pools.escalate.max=2"]) == 2
    assert "Set policy=auto, or leave the pool out." in capsys.readouterr().err


def test_shards_of_a_store_hold_the_whole_table_whatever_size_decodes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = planned(capsys, "sizes=[full]")["pools"]["full"][2]["bytes"]["disk"]
    pools = planned(capsys, "sizes=[small]", "ple=store", "ple.shards=4")["pools"]["small"]
    assert pools[2]["bytes"]["disk"] == 0
    assert (pools[4]["pool"], pools[4]["processes"]) == ("ple", [4, 4])
    assert pools[4]["bytes"]["disk"] == whole // 4 > 0


def test_nodes_of_a_kind_are_counted_and_their_room_for_each_pool(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["executor.address=there:1", "executor.pools.encode.resources={encoder: 1}"]
    words += ["executor.pools.decode.num_gpus=0.4", "executor.pools.read.memory=2e9"]
    words += ["executor.pools.write.num_cpus=0", "executor.pools.encode.num_cpus=4"]
    encoders, gpus = planned(capsys, *words)["nodes"]
    assert (encoders["count"], encoders["labels"]) == (2, {"zone": "x"})
    assert encoders["resources"] == {"CPU": 8, "encoder": 3, "memory": 3e9}
    assert encoders["room"] == {"read": 1, "encode": 2, "decode": 0, "write": None}
    assert (gpus["count"], gpus["room"]["encode"], gpus["room"]["decode"]) == (1, 0, 4)


def test_the_tables_say_what_has_no_room(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["executor=ray", "executor.address=there:1", "executor.pools.decode.num_gpus=3"]
    assert main(["plan", *words]) == 0
    said = capsys.readouterr().out
    assert "No room for decode (at least 1): a run would wait until nodes come." in said
    assert "decode: fuse decode" in said
    assert "num_cpus=1.0 num_gpus=3.0" in said


def test_a_pool_fits_only_where_its_labels_are() -> None:
    kind = plan_pools.NodeKind(1, {"CPU": 2.0}, {"zone": "x"})
    assert kind.room(PoolSettings(num_cpus=0.1)) == 20
    assert kind.room(PoolSettings(num_cpus=0.1, labels={"zone": "y"})) == 0
