"""The path on Ray, as a user starts it: the same rows as in process, whatever dies on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.pool_notes import notes

SAMPLES = Path(__file__).parents[1] / "samples"
WAIT_S = 300  # for what may stand still
PLAIN = ["precision=float32", "device=cpu", "decode.max_new_tokens=8", "sink.formats=[jsonl]"]

pytestmark = pytest.mark.slow

# Stages of another package: they say a row's prompt, and do what the prompt says; the second takes
# rows as it has room for them, as a decoder does.
STAGE = """
import os, random, time
from dataclasses import dataclass
from itertools import islice
from stages.row import Stage

@dataclass
class Settings:
    pass

class Obey(Stage):
    settings_type = Settings
    adds = ("text", "said")
    types = {"said": str}

    def __call__(self, rows):
        for row in rows:
            if row["prompt"] == "die" or (row["prompt"] == "risk" and random.random() < 0.02):
                os._exit(1)
            if row["prompt"] == "hang":
                time.sleep(1000)
            if row["prompt"] == "wait":
                time.sleep(0.05)
            row["text"] = row["said"] = row["prompt"]
        return rows

    def close(self):
        open(os.path.join(os.path.dirname(__file__), f"closed-{os.getpid()}"), "w").close()

class ObeyInSlots(Obey):
    streams = True

    def stream(self, rows, batch):
        held = list(islice(rows, batch))
        while held:
            row = held.pop(random.randrange(len(held)))
            self([row])
            yield row, None
            held += islice(rows, batch - len(held))
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A command, with a package beside it that brings the stage `obey`."""
    site = tmp_path / "site"
    info = site / "obey-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "obey.py").write_text(STAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: obey\nVersion: 1.0\n")
    stages = "obey = obey:Obey\nobey_in_slots = obey:ObeyInSlots\n"
    (info / "entry_points.txt").write_text(f"[gemma3n_pipelines.stages]\n{stages}")
    paths = [str(site), str(Path(__file__).parents[2])]
    # Threads that wait for each other are slow where the machine has other work.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}

    def start(*words: str, **how: Any) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "pipelines", *words]
        return subprocess.Popen(command, env=environment, text=True, **how)

    return start


def results(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def rows(tmp_path: Path, prompts: list[str]) -> str:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    return str(path)


def obeying(stage: str) -> list[str]:
    words = [
        f"path=[read,{stage},write]",
        "executor=ray",
        f"executor.pools.decode.stages=[{stage}]",
    ]
    return [*words, "source.media=[]", "device=cpu", "sink.formats=[jsonl]"]


OBEY = obeying("obey")
BOTH = pytest.mark.parametrize("stage", ["obey", "obey_in_slots"])


def test_the_rows_are_those_of_one_process(tmp_path: Path, run: Any) -> None:
    source = tmp_path / "in"
    source.mkdir()
    lines = []
    for number, file in enumerate(sorted(SAMPLES.rglob("*.wav"))[:12]):
        lines.append({"audio": str(file), "prompt": "What is said?" if number % 2 else None})
    for file in sorted(SAMPLES.rglob("*.png"))[:6]:
        lines.append({"image": str(file), "prompt": "What is this?"})
    both = {"audio": lines[0]["audio"], "image": lines[-1]["image"], "prompt": "What is this?"}
    lines += [{"prompt": "Spell cat."}, both, {"audio": "nowhere.wav"}, {"prompt": "x" * 9000}]
    (source / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["generate", str(source / "rows.jsonl"), *PLAIN]
    ray = ["executor=ray", "executor.items_a_task=5", "executor.pools.decode.max=2"]
    codes = [
        run(*words, "-o", str(tmp_path / "alone")).wait(),
        run(*words, "-o", str(tmp_path / "ray"), *ray).wait(),
    ]
    assert codes == [3, 3]
    alone, spread = results(tmp_path / "alone"), results(tmp_path / "ray")
    assert len(alone) == len(lines)
    for one, other in zip(alone, spread, strict=True):
        for mine, its in zip(one["segments"], other["segments"], strict=True):
            assert mine.pop("logprob") == pytest.approx(its.pop("logprob"), abs=1e-4)
        assert one == other
    pools = json.loads((tmp_path / "ray/summary.json").read_text())["pools"]
    assert {name: pool["rows"] for name, pool in pools.items()} == dict.fromkeys(pools, len(lines))
    assert not (tmp_path / "ray/.ray").exists()


def test_a_second_pool_answers_what_the_small_size_is_unsure_of_and_a_death_there_costs_nothing(
    tmp_path: Path, run: Any
) -> None:
    files = [str(file) for file in sorted(SAMPLES.rglob("*.wav"))[:16]]
    words = ["transcribe", *files, *PLAIN, "policy=auto"]
    assert run(*words, "-o", str(tmp_path / "one"), "policy.threshold=0").wait() == 0
    logprobs = [
        float(row["note"].partition("log-probability ")[2].partition(";")[0])
        for row in results(tmp_path / "one")
    ]
    words.append(f"policy.threshold={sorted(logprobs)[5] + 0.001}")
    spread = ["executor=ray", "executor.pools.decode.max=2", "executor.pools.escalate.max=1"]
    assert run(*words, "-o", str(tmp_path / "alone")).wait() == 0
    process = run(*words, "-o", str(tmp_path / "ray"), *spread)
    os.kill(at_work(tmp_path / "ray", "escalate", process), signal.SIGKILL)
    assert process.wait(WAIT_S) == 0
    alone, two = results(tmp_path / "alone"), results(tmp_path / "ray")
    again = sum(row["size"] == "full" for row in alone)
    assert 0 < again < len(files) == len(alone)
    for one, other in zip(alone, two, strict=True):
        for mine, its in zip(one["segments"], other["segments"], strict=True):
            assert mine.pop("logprob") == pytest.approx(its.pop("logprob"), abs=1e-4)
        assert one == other
    pools = json.loads((tmp_path / "ray/summary.json").read_text())["pools"]
    assert list(pools) == ["read", "encode", "decode", "escalate", "write"]
    assert pools["decode"]["counts"]["decode"]["passed_on"] == again
    assert pools["escalate"]["died"] == 1


def at_work(out: Path, pool: str, process: "subprocess.Popen[str]") -> int:
    """Number of the first process of a pool that is seen to have rows."""
    end = time.monotonic() + WAIT_S
    while True:
        assert process.poll() is None, "the run was over too early"
        assert time.monotonic() < end, f"no process of pool {pool} got rows"
        for folder in out.glob(f".ray/*/{pool}"):
            for note in notes(folder):
                if note.doing.startswith("was in "):
                    return note.place.pid
        time.sleep(0.01)


def test_long_recordings_and_a_list_on_stdin_begun_in_one_process_are_finished_on_ray(
    tmp_path: Path, run: Any
) -> None:
    files = sorted(SAMPLES.rglob("*.wav"))[:6]
    words = ["transcribe", "-", "-o", str(tmp_path / "out"), *PLAIN]
    for some, more in ((files[:3], []), (files, ["executor=ray"])):
        process = run(*words, *more, stdin=subprocess.PIPE)
        process.communicate("".join(f"{file}\n" for file in some))
        assert process.returncode == 0
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert (summary["items"], summary["earlier"]) == (3, 3)
    assert len(results(tmp_path / "out")) == 6


@BOTH
def test_a_row_that_ends_its_process_costs_the_other_999_nothing(
    tmp_path: Path, run: Any, stage: str
) -> None:
    prompts = [f"say {number}" for number in range(1000)]
    prompts[617] = "die"
    out = tmp_path / "out"
    assert run("generate", rows(tmp_path, prompts), "-o", str(out), *obeying(stage)).wait() == 3
    done = results(out)
    assert [row["text"] for row in done if not row["error"]] == prompts[:617] + prompts[618:]
    (failed,) = (row for row in done if row["error"])
    assert failed["error"]["stage"] == stage
    assert f"its process ended 3 times while it was in {stage}:" in failed["error"]["message"]
    log = (out / "run.log").read_text()
    assert log.count(f"ended while it was in {stage} with '") == 3
    assert json.loads((out / "summary.json").read_text())["pools"]["decode"]["died"] == 3
    assert len(list((tmp_path / "site").glob("closed-*"))) == 1  # the one that lived


@BOTH
def test_a_row_that_hangs_is_given_up(tmp_path: Path, run: Any, stage: str) -> None:
    prompts = [*"abc", "hang", *"def"]
    out, limits = tmp_path / "out", ["executor.row_timeout_s=2", "executor.max_row_attempts=2"]
    words = ["generate", rows(tmp_path, prompts), "-o", str(out), *obeying(stage), *limits]
    assert run(*words).wait() == 3
    assert [row["text"] or None for row in results(out)] == [*"abc", None, *"def"]
    log = (out / "run.log").read_text()
    assert log.count(f"ended (Timeout (0:00:02)) while it was in {stage} with '") == 2
    assert re.search(r'it was at "\S*obey\.py", line \d+ in __call__', log)


@BOTH
def test_processes_that_die_by_chance_lose_and_repeat_nothing(
    tmp_path: Path, run: Any, stage: str
) -> None:
    out = tmp_path / "out"
    words = ["generate", rows(tmp_path, ["risk"] * 200), "-o", str(out), *obeying(stage)]
    assert run(*words, "executor.max_row_attempts=6", "executor.pools.decode.max=2").wait() == 0
    assert Counter(row["text"] for row in results(out)) == {"risk": 200}


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_ended_goes_on(tmp_path: Path, run: Any, sign: signal.Signals) -> None:
    out = tmp_path / "out"
    words = ["generate", rows(tmp_path, ["wait"] * 300), "-o", str(out), *OBEY]
    words.append("executor.pools.write.batch=8")
    process = run(*words)
    while not list(out.glob("results/part-*")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(sign)
    assert process.wait(60) == (-9 if sign is signal.SIGKILL else 130)
    assert (out / ".ray").exists() == (sign is signal.SIGKILL)
    assert run(*words).wait() == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["earlier"] > 0
    assert summary["items"] + summary["earlier"] == 300
    assert Counter(row["text"] for row in results(out)) == {"wait": 300}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["executor.pools.decode.num_gpus=1"], "the pools need 1 GPU at the least, and the clus"),
        (
            ["executor.pools.read.resources={disk: 2}"],
            "the pools need 2 disk at the least, and the",
        ),
        (["executor.pools.read.labels={disk: fast}"], "a pool needs a node with labels {'disk': "),
    ],
)
def test_what_the_cluster_never_has_is_refused(
    tmp_path: Path, run: Any, words: list[str], message: str
) -> None:
    out = tmp_path / "out"
    job = ["generate", rows(tmp_path, ["a"]), "-o", str(out)]
    local = [word for word in OBEY if not word.startswith("executor")]
    assert run(*job, *local).wait() == 0
    process = run(*job, *OBEY, *words, "fresh=true", stderr=subprocess.PIPE)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 2
    assert message in said
    assert "Traceback" not in said
    assert len(results(out)) == 1


def test_a_thousand_items_by_two_decoders_and_two_shards_are_those_of_one_process(
    tmp_path: Path, run: Any
) -> None:
    clips, pictures = sorted(SAMPLES.rglob("*.wav")), sorted(SAMPLES.rglob("*.png"))
    lines: list[dict[str, Any]] = [{"prompt": f"Spell {n}."} for n in range(1000)]
    for number in range(0, 1000, 50):
        lines[number] = {"audio": str(clips[number % len(clips)]), "prompt": "What is said?"}
        picture = str(pictures[number % len(pictures)])
        lines[number + 5] = {"image": picture, "prompt": "What is this?"}
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["generate", str(source), *PLAIN, "decode.max_new_tokens=2"]
    spread = ["executor=ray", "ple=store", "ple.shards=2"]
    spread += [f"executor.pools.decode.{end}=2" for end in ("max", "min")]
    assert run(*words, "-o", str(tmp_path / "alone")).wait() == 0
    assert run(*words, "-o", str(tmp_path / "store"), *spread).wait() == 0
    alone, stored = results(tmp_path / "alone"), results(tmp_path / "store")
    assert len(alone) == 1000
    for one, other in zip(alone, stored, strict=True):
        for mine, its in zip(one["segments"], other["segments"], strict=True):
            assert mine.pop("logprob") == pytest.approx(its.pop("logprob"), abs=1e-4)
        assert one == other
    summary = json.loads((tmp_path / "store/summary.json").read_text())
    pool = summary["pools"]["decode"]
    assert (pool["processes"], pool["rows"], pool["died"]) == (2, 1000, 0)
    assert min(pool["ple_moved"], pool["ple_bytes"], pool["ple_seconds"]) > 0
    assert pool["ple_rows"] > 2 * pool["ple_moved"]  # the rows of the prompt are kept
    assert (summary["ple"]["rows"], summary["ple"]["bytes"]) == (
        pool["ple_rows"],
        pool["ple_bytes"],
    )
