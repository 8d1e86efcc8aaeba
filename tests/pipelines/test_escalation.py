"""`policy=auto` by two pools of decoders; their processes are called one after another, not Ray."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gemma3n.choices import Device, Precision
from gemma3n.errors import SettingsError
from pipelines.exit_code import ROWS_FAILED
from pipelines.pool_notes import notes, together
from pipelines.pool_worker import DONE, PoolWorker
from pipelines.pools import Post, check_pools, posts
from pipelines.run import model_load, run_path
from pipelines.settings import (
    ExecutorSettings,
    NestedSettings,
    PathJob,
    PolicyKind,
    PolicySettings,
    PoolSettings,
    PoolsSettings,
)
from stages.model import shared_model
from stages.row import Row
from stages.source import SourceSettings, list_items

AUTO = PolicySettings(PolicyKind.auto, threshold=-0.6)


def escalated(**pools: PoolSettings) -> ExecutorSettings:
    return ExecutorSettings(pools=PoolsSettings(escalate=PoolSettings(max=2, batch=4), **pools))


@pytest.fixture
def job(tmp_path: Path) -> PathJob:
    """Rows of text; some name a size of their own, and two cannot be answered."""
    words = ["cat", "dog", "house", "tree", "bird", "apple", "river", "stone", "ten", "blue"]
    lines: list[dict[str, Any]] = [{"prompt": f"Spell {word}."} for word in words]
    for place, own in ((3, "small"), (4, "mix2"), (5, "full"), (6, "nope")):
        lines[place]["nested"] = own
    lines[1]["prompt"] = "x" * 9000
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    made = PathJob(
        job="generate",
        path=["read", "fuse", "decode", "write"],
        precision=Precision.float32,
        device=Device.cpu,
        policy=AUTO,
        source=SourceSettings(path=[str(tmp_path / "rows.jsonl")], media=[]),
    )
    made.decode.max_new_tokens = 8
    return made


def through(pools: list[Post], job: PathJob) -> list[Row]:
    """What comes out of a process of each pool, one behind the other."""
    rows: list[Any] = [item | {DONE: []} for item in list_items(job.source)]
    for post in pools:
        post.attempts.mkdir(parents=True)
        worker = PoolWorker(post)
        tables = list(worker(worker.boundary.to_arrow(rows)))
        rows = [row for table in tables for row in worker.boundary.to_rows(table)]
        worker.close()
    return rows


def test_two_pools_answer_what_one_process_does(job: PathJob, tmp_path: Path) -> None:
    assert run_path(job, tmp_path / "alone") == ROWS_FAILED
    lines = (tmp_path / "alone/results.jsonl").read_text().splitlines()
    alone = [json.loads(line) for line in lines]
    pools = list(posts(replace(job, executor=escalated()), model_load(job), tmp_path / "spread"))
    rows = through(pools, job)
    for row, one in zip(rows, alone, strict=True):
        assert (row["item"], row.get("error")) == (one["item"], one["error"])
        if not row.get("error"):
            found = (row["text"], row["size"], row["note"])
            assert found == (one["text"], one["size"], one["note"])
            assert row["logprob"] == pytest.approx(one["segments"][0]["logprob"], abs=1e-4)
        assert not {"doubted", "token_ids", "embeddings"} & row.keys()
    doubted = [one for one in alone if "had log-probability" in (one["note"] or "")]
    sure = [one for one in alone if one["size"] == "small" and one["item"] != "4"]
    assert min(len(doubted), len(sure)) >= 2
    rows_of = [together(list(notes(post.work))).stage_rows.get("decode") for post in pools]
    assert rows_of == [None, None, len(alone), None]  # each once
    counts = together(list(notes(pools[1].work))).counts
    own_size = 4
    assert counts == {"decode": {"passed_on": len(doubted) + own_size}}


def test_each_pool_loads_what_it_runs_and_no_more(job: PathJob, tmp_path: Path) -> None:
    job.executor = escalated()
    pools = {post.pool: post for post in posts(job, model_load(job), tmp_path)}
    assert list(pools) == ["read", "decode", "escalate", "write"]
    assert (pools["decode"].stages, pools["escalate"].stages) == (("fuse", "decode"), ("decode",))
    took = {}
    for name in ("decode", "escalate"):
        model = shared_model(pools[name].load)
        assert len(model.text.layers) == len(model.size.layers(model.config.text))
        took[model.size_name] = model.took["text"].bytes
    assert list(took) == ["small", "full"]
    assert took["small"] < 0.6 * took["full"]


def test_where_nested_is_the_small_size_itself_there_is_no_second_pool(
    job: PathJob, tmp_path: Path
) -> None:
    job.executor, job.nested = escalated(), NestedSettings("small")
    pools = list(posts(job, model_load(job), tmp_path))
    assert [post.pool for post in pools] == ["read", "decode", "write"]
    assert not any(post.decodes_in_part for post in pools)


def test_what_follows_decode_in_its_pool_is_done_where_all_have_an_answer() -> None:
    job = PathJob(job="t", path=["read", "fuse", "decode", "write"], policy=AUTO)
    job.executor = escalated(
        decode=PoolSettings(["fuse", "decode", "write"]), write=PoolSettings([])
    )
    assert check_pools(job) == [
        ("read", ["read"]),
        ("decode", ["fuse", "decode"]),
        ("escalate", ["decode", "write"]),
    ]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            {"policy": PolicySettings()},
            "executor.pools.escalate decodes again what the small size of policy=auto is unsure "
            "of, but policy=single. Set policy=auto, or leave the pool out.",
        ),
        ({"path": ["read", "write"]}, "of, but nothing on the path ['read', 'write'] decodes. Lea"),
        (
            {"nested": NestedSettings(budget_gb=2.5)},
            "but nested.budget_gb=2.5 chooses one as it loads. Name it: nested=full.",
        ),
    ],
)
def test_a_second_pool_to_which_nothing_comes_is_refused(
    job: PathJob, wrong: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        check_pools(replace(job, executor=escalated(), **wrong))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (
            PoolSettings(["write"], max=1),
            "executor.pools.escalate.stages=['write'], but its stages are decode, and what follows",
        ),
        (
            PoolSettings(max=0, num_gpus=1, batch=32, batches=8),
            "executor.pools.escalate has num_gpus and batch, but max=0: there is no such pool. "
            "Give executor.pools.escalate.max, 1 or more",
        ),
        (PoolSettings(min=2, max=1), "pools.escalate.max=1, but executor.pools.escalate.min=2"),
        (PoolSettings(max=-1), "executor.pools.escalate.max=-1, but executor.pools.escalate.min"),
    ],
)
def test_settings_that_a_second_pool_cannot_have_are_refused(
    wrong: PoolSettings, message: str
) -> None:
    with pytest.raises(SettingsError, match=re.escape(message)):
        PoolsSettings(escalate=wrong)
