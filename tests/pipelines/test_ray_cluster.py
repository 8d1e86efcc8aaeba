"""The path on a cluster of several nodes: who lands where, and that deaths lose and repeat nothing.

The nodes are raylets on this machine. What runs is nano on lines of text. A stage in the readers'
pool sleeps, so that all pools are at work to the end, and a job is long enough to be struck often.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyarrow.parquet import read_metadata
from ray.cluster_utils import Cluster

from pipelines.pool_notes import Note, notes

pytestmark = pytest.mark.slow

ROWS, WAIT_S = 360, 300
# Of each kind of node there are two, with room for so many processes of its pools.
NODES = {"reader": 3, "encoder": 1, "decoder": 1, "store": 1}
POOLS = {"read": "reader", "write": "reader", "encode": "encoder", "decode": "decoder"}
STRIKES = [*(f"{kind} node" for kind in NODES), *POOLS, "shard", "driver"]

STAGE = """
import time
from dataclasses import dataclass
from stages.row import Stage

@dataclass
class Settings:
    pass

class Pace(Stage):
    settings_type = Settings
    adds = ("paced",)
    types = {"paced": bool}

    def __call__(self, rows):
        for row in rows:
            time.sleep(0.15)
            row["paced"] = True
        return rows

class Hear(Stage):
    settings_type = Settings
    reads = ("paced",)
    adds = ("heard",)
    types = {"heard": bool}

    def __call__(self, rows):
        for row in rows:
            row["heard"] = row["paced"]
        return rows
"""
WORDS = ["path=[read,pace,hear,fuse,decode,write]", "source.media=[]", "precision=float32"]
WORDS += ["device=cpu", "sink.formats=[jsonl]", "decode.max_new_tokens=2"]
SPREAD = ["executor=ray", "executor.pools.read.stages=[read,pace]", "executor.items_a_task=6"]
SPREAD += [
    "executor.pools.encode.stages=[hear]",
    "executor.max_row_attempts=20",
    "ple=store",
    "ple.shards=2",
]
SPREAD += [f"executor.pools.{pool}.batch=3" for pool in POOLS]
SPREAD += [f"executor.pools.{pool}.num_cpus=0.1" for pool in POOLS]
SPREAD += [f"executor.pools.{pool}.resources={{{kind}: 1}}" for pool, kind in POOLS.items()]
SPREAD += ["executor.pools.ple.resources={store: 1}"]
SPREAD += [
    f"executor.pools.{pool}.{end}=2"
    for pool in ("read", "encode", "decode")
    for end in ("max", "min")
]


class Nodes:
    """The cluster, with two nodes of each kind whatever is struck."""

    def __init__(self) -> None:
        # A dead node is noticed after 3 s; one that is only slow has 20 s to answer.
        quick = {"health_check_period_ms": 1000, "health_check_failure_threshold": 3}
        quick |= {"health_check_timeout_ms": 20000}
        head = {"num_cpus": 2, "include_dashboard": False, "_system_config": quick}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.kinds: dict[str, str] = {}  # of every node that there ever was, by its id
        self.nodes: dict[str, list[Any]] = {}
        for kind in NODES:
            self.nodes[kind] = [self._add(kind), self._add(kind)]

    def _add(self, kind: str) -> Any:
        node = self.cluster.add_node(resources={kind: NODES[kind]}, include_dashboard=False)
        self.kinds[node.node_id] = kind
        return node

    def replace(self, kind: str, which: int) -> None:
        """A node dies with all that is on it, and another one comes."""
        self.cluster.remove_node(self.nodes[kind][which], allow_graceful=False)
        self.nodes[kind][which] = self._add(kind)

    def shards(self) -> list[Any]:
        """What Ray knows of the PLE store's actors that live."""
        actors = self.cluster.global_state.actor_table(None).values()
        return [a for a in actors if a["Name"].startswith("ple-") and a["State"] == "ALIVE"]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A command, with a package beside it that brings the stages `pace` and `hear`."""
    site = tmp_path_factory.mktemp("site")
    info = site / "pace-1.0.dist-info"
    info.mkdir()
    (site / "pace.py").write_text(STAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pace\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gemma3n_pipelines.stages]\npace = pace:Pace\nhear = pace:Hear\n"
    )
    paths = os.pathsep.join([str(site), str(Path(__file__).parents[2])])
    with pytest.MonkeyPatch.context() as patch:  # raylets hand it on to their processes
        patch.setenv("PYTHONPATH", paths)
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")

        def run(source: Path, out: Path, *words: str) -> "subprocess.Popen[bytes]":
            command = [sys.executable, "-m", "pipelines", "generate", str(source), "-o", str(out)]
            return subprocess.Popen([*command, *WORDS, *words])

        yield run


@pytest.fixture(scope="module")
def nodes(start: Any) -> Iterator[Nodes]:
    made = Nodes()
    yield made
    made.cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.fixture(scope="module")
def alone(start: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Any]]:
    """The source, and what becomes of it in one process."""
    folder = tmp_path_factory.mktemp("alone")
    source = folder / "rows.jsonl"
    lines = [json.dumps({"id": f"row {n}", "prompt": f"Spell {n} times {n}."}) for n in range(ROWS)]
    source.write_text("\n".join(lines))
    out = folder / "out"
    assert start(source, out).wait() == 0
    return source, results(out)


def results(out: Path) -> list[Any]:
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for row in rows:
        for segment in row["segments"]:
            segment["logprob"] = pytest.approx(segment["logprob"], abs=1e-4)
    return rows


def test_every_process_lands_on_a_node_of_its_kind(
    nodes: Nodes, start: Any, alone: tuple[Path, list[Any]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(alone[0], out, *SPREAD, f"executor.address={nodes.cluster.address}")
    until(lambda: list((out / "results").glob("part-*")), process)
    shards = {nodes.kinds[actor["Address"]["NodeID"]] for actor in nodes.shards()}
    assert (shards, len(nodes.shards())) == ({"store"}, 2)
    assert process.wait(WAIT_S) == 0
    assert results(out) == alone[1]
    kinds = {name[:8]: kind for name, kind in nodes.kinds.items()}
    pools = json.loads((out / "summary.json").read_text())["pools"]
    assert {name: {kinds[node] for node in pool["nodes"]} for name, pool in pools.items()} == {
        name: {POOLS[name]} for name in pools
    }
    assert (len(pools["encode"]["nodes"]), len(pools["decode"]["nodes"])) == (2, 2)


@pytest.mark.parametrize("seed", range(3))
def test_whatever_dies_nothing_is_lost_or_repeated(
    nodes: Nodes, start: Any, alone: tuple[Path, list[Any]], tmp_path: Path, seed: int
) -> None:
    chosen, out = random.Random(seed), tmp_path / "out"
    words = [*SPREAD, f"executor.address={nodes.cluster.address}"]
    process = start(alone[0], out, *words)
    order = chosen.sample(STRIKES, len(STRIKES))
    gap = ROWS // (len(STRIKES) + 1)
    for number, strike in enumerate(order):
        moment = number * gap + chosen.randrange(gap // 2) + 1
        until(partial(has_written, out, moment), process)
        time.sleep(chosen.random() * 0.5)
        if strike == "driver":
            process.kill()
            assert process.wait(WAIT_S) == -signal.SIGKILL
            process = start(alone[0], out, *words)
            continue
        if strike.endswith("node"):
            nodes.replace(strike.removesuffix(" node"), chosen.randrange(2))
            continue
        if strike == "shard":
            pids = until(lambda: [actor["Pid"] for actor in nodes.shards()], process)
        else:
            pids = until(partial(living, out, strike), process)
        os.kill(chosen.choice(pids), signal.SIGKILL)
    assert process.wait(WAIT_S) == 0
    assert results(out) == alone[1]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["items"] + summary["earlier"] == ROWS
    assert summary["earlier"] > 0
    log = (out / "run.log").read_text()
    assert "its node is gone" in log


def until(see: Callable[[], Any], process: "subprocess.Popen[bytes]") -> Any:
    """What it sees, once that is something."""
    end = time.monotonic() + WAIT_S
    while not (seen := see()):
        assert process.poll() is None, "the run was over too early"
        assert time.monotonic() < end, "the run stands still"
        time.sleep(0.05)
    return seen


def has_written(out: Path, rows: int) -> bool:
    """Whether so many rows are in the parts that were committed."""
    with suppress(FileNotFoundError):  # a run that goes on joins them first
        parts = (out / "results").glob("part-*")
        return sum(read_metadata(part).num_rows for part in parts) >= rows
    return False


def living(out: Path, pool: str) -> list[int]:
    """Processes of a pool that run."""
    found: list[Note] = []
    for folder in out.glob(f".ray/*/{pool}"):
        found += notes(folder)
    return [note.place.pid for note in found if Path(f"/proc/{note.place.pid}").exists()]
