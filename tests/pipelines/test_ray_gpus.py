"""Who gets which GPU: Ray's are numbers, so that no card is needed to see them handed out."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

pytestmark = pytest.mark.slow

STAGES = """
import os, time
from dataclasses import dataclass
from stages.row import Stage

@dataclass
class Settings:
    pass

class See(Stage):
    settings_type = Settings
    types = {"here": str, "there": str}

    def __init__(self, settings, load):
        import torch
        gpus = os.environ.get("CUDA_VISIBLE_DEVICES")
        self.seen = f"{gpus} {load.device} {torch.cuda.is_available()}"

    def __call__(self, rows):
        time.sleep(0.2)
        for row in rows:
            row[self.adds[0]] = self.seen
        return rows

class Here(See):
    adds = ("here",)

class There(See):
    adds = ("there",)

class Tell(See):
    adds = ("text",)
    types = {}

    def __call__(self, rows):
        for row in rows:
            row["text"] = " | ".join((row["here"], row["there"], self.seen))
        return rows
"""


def test_fractions_whole_gpus_and_none_are_what_each_process_sees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site/see-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "see.py").write_text(STAGES)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: see\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gemma3n_pipelines.stages]\nhere = see:Here\nthere = see:There\ntell = see:Tell\n"
    )
    paths = os.pathsep.join([str(info.parent), str(Path(__file__).parents[2])])
    monkeypatch.setenv("PYTHONPATH", paths)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n' * 64)
    head = {"num_cpus": 4, "num_gpus": 3, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        words = ["generate", str(tmp_path / "rows.jsonl"), "-o", str(tmp_path / "out")]
        words += ["path=[read,here,there,tell,write]", "source.media=[]", "sink.formats=[jsonl]"]
        words += ["executor=ray", f"executor.address={cluster.address}", "executor.items_a_task=2"]
        words += ["executor.pools.encode={stages: [here], num_cpus: 0.1, num_gpus: 0.5}"]
        words += ["executor.pools.encode.max=2", "executor.pools.encode.min=2"]
        words += ["executor.pools.decode={stages: [there], num_cpus: 0.1, num_gpus: 1}"]
        words += ["executor.pools.decode.max=2", "executor.pools.decode.min=2"]
        words += ["executor.pools.write={stages: [tell, write], num_cpus: 0.1}"]
        assert (
            subprocess.run([sys.executable, "-m", "pipelines", *words], check=False).returncode == 0
        )
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    lines = (tmp_path / "out/results.jsonl").read_text().splitlines()
    texts = [json.loads(line)["text"].split(" | ") for line in lines]
    halves, wholes, nones = (set(column) for column in zip(*texts, strict=True))
    # Two halves of one GPU, or of two if Ray has it so; whole ones are nobody else's.
    assert len(texts) == 64
    assert len(wholes) == 2
    assert {seen.split()[0] for seen in halves | wholes} <= {"0", "1", "2"}
    assert not halves & wholes
    # A card that Ray counts and torch does not find: `auto` is still settled there, to the CPU.
    assert {seen.partition(" ")[2] for seen in halves | wholes} == {"auto False"}
    (none,) = nones
    assert none.split()[-2:] == ["cpu", "False"]
    pools: dict[str, Any] = json.loads((tmp_path / "out/summary.json").read_text())["pools"]
    assert {"0", "1", "2"} >= pools["encode"]["gpus"].keys() >= {s.split()[0] for s in halves}
    assert not pools["write"]["gpus"].keys() & {"0", "1", "2"}
