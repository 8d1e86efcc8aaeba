import json
import os
from pathlib import Path
from typing import Any

import pytest

from pipelines.bench.command import Look, Run
from pipelines.bench.ray_scale import _items_a_task, _on_paper
from pipelines.bench.table import Lines
from pipelines.cli import main
from pipelines.pretend import PretendDecode, PretendEncode, PretendSettings, installed
from stages.model import Load
from stages.row import light_row


def run(pools: dict[str, Any], **spent: float) -> Run:
    summary = {"stage_seconds": spent, "pools": pools, "seconds": 20.0}
    looks = [Look(at, 100 + at, at / 2, at) for at in range(30)]
    return Run(wall=30, before=1, summary=summary, looks=looks)


def test_a_start_is_itemised_and_what_comes_after_it_is_the_rest() -> None:
    pools = {"read": {"ready_seconds": 2.0}, "decode": {"ready_seconds": 5.0}}
    spread = run(pools, start=4.0, list=0.5, load=7.0)
    assert spread.start == {
        "imports and settings s": 1,
        "cluster s": 4,
        "list s": 0.5,
        "pools s": 5,
    }
    assert spread.past_start == 20 - 4 - 0.5 - 5
    assert [look.at for look in spread.looks_past_start] == list(range(10, 30))
    assert spread.cpu == (29 - 10) / 2
    assert spread.cores_busy == pytest.approx(1 / (os.cpu_count() or 1))
    assert run({"read": {"ready_seconds": 40.0}}).cores_busy == 0  # nobody looked that late
    alone = run({}, load=7.0)
    assert alone.start == {"imports and settings s": 1, "load s": 7}
    assert alone.past_start == 13


def test_a_curve_is_a_line_a_run() -> None:
    runs = [{"workers": 1, "rows/s": 8}, {"workers": 2, "rows/s": 15}]
    curve = Lines("t", {"batch_s": 1}, runs, word=str, notes=["It", "ends."])
    assert (curve.table().row_count, curve.table().caption) == (2, "It\nends.")
    told = json.loads(curve.document())
    assert (told["runs"][1]["rows/s"], told["notes"]) == (15, ["It", "ends."])


def test_a_task_is_long_where_decoders_have_many_batches_and_a_batch_where_they_have_few() -> None:
    assert [_items_a_task(batches) for batches in (1, 16, 64, 640)] == [8, 16, 64, 64]


def test_on_paper_a_driver_feeds_as_many_gpus_as_its_time_a_row_leaves() -> None:
    feeds, runs = _on_paper(0.001, new_tokens=64)
    assert feeds.startswith("The driver computes 1.00 ms a row.")
    assert "213 of L4 (1.71 s), 31 of A100 80 GB (0.25 s), 19 of H100 (0.15 s)." in feeds
    assert runs.endswith("each over a part of the source: 5 of L4, 32 of A100 80 GB, 53 of H100.")


def test_pretended_stages_take_the_time_that_rows_say_and_hand_on_what_a_tower_makes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("pipelines.pretend.time.sleep", slept.append)
    rows = [light_row(name, prompt="0.25 0.5 3") for name in "ab"]
    encoded = PretendEncode(PretendSettings(), Load("x"))(rows)
    assert all(row["pretended"].nbytes == 3 * 2048 * 2 for row in encoded)  # type: ignore[typeddict-item]
    decoded = PretendDecode(PretendSettings(), Load("x"))(encoded)
    assert [("pretended" in row, row["text"]) for row in decoded] == [(False, "pretended")] * 2
    assert slept == [0.25, 0.5]


def test_their_entry_points_name_classes_that_exist(tmp_path: Path) -> None:
    from importlib.metadata import distributions

    (one,) = distributions(path=[str(installed(tmp_path))])
    assert {entry.name: entry.load() for entry in one.entry_points}[
        "pretend_encode"
    ] is PretendEncode


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("workers=[]", "workers=[]; at least one"),
        ("workers=[0]", "workers=[0]; at least one"),
        ("soft_tokens=[]", "soft_tokens=[]; at least one"),
        ("batch_s=0", "batch_s=0.0; more than 0"),
    ],
)
def test_a_curve_of_nothing_is_refused(
    capsys: pytest.CaptureFixture[str], word: str, why: str
) -> None:
    assert main(["bench", "what=ray_scale", word]) == 2
    assert why in capsys.readouterr().err


@pytest.mark.slow
def test_a_store_is_compared_with_memory_with_groups_that_alternate_and_without(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["bench", "what=store", "rows=4", "new_tokens=8", "repeat=1", "json=true"]
    assert main([*words, "precision=float32", "ple.shards=2", "ple.cache_rows=16"]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    for name in ("in memory", "store", "store, 2 groups"):
        assert run[f"{name}: tokens/s"] > 0
    assert run["in memory: waited, ms a step of all rows"] == pytest.approx(0, abs=0.5)
    assert run["store: MB moved a step"] > 0
    for count in (4, 512):
        assert run[f"a shard, {count} a call: MB/s"] > 0
    asked_s = run["store: rows moved a step"] * run["in memory: tokens/s"] / 4
    assert run["decoders at in-memory speed that a shard feeds"] == pytest.approx(
        run["a shard, 4 a call: rows/s"] / asked_s
    )
    ratio = run["store: tokens/s"] / run["in memory: tokens/s"]
    assert run["store to in memory: tokens/s"] == pytest.approx(ratio)


@pytest.mark.slow
def test_benches_of_ray_say_what_they_promise(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {
        "ray": ["files=6"],
        "ray_memory": ["files=2000"],
        "ray_scale": ["workers=[1,2]", "seconds=2", "batch_s=0.2"],
    }
    found = {}
    for what, words in asked.items():
        assert main(["bench", f"what={what}", "repeat=1", "json=true", *words]) == 0
        found[what] = json.loads(capsys.readouterr().out)["runs"]
    (ray,), (memory,) = found["ray"], found["ray_memory"]
    assert ray["Ray to one process"] == pytest.approx(ray["items/s"] / ray["items/s, one process"])
    assert ray["start-up s"] > ray["of it pools s"] > 0
    assert ray["read to encode, kB a row"] > 100  # mel frames of 2 s, in float32
    assert memory["driver, peak"] >= memory["driver, last third"] > 0
    assert [one["decoders"] for one in found["ray_scale"]] == [1, 2]
    assert all(0 < one["efficiency"] <= 1.05 for one in found["ray_scale"])
