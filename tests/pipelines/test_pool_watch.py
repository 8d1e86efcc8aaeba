"""What the driver sees of pools from the notes of their processes."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.pool_notes import Notes
from pipelines.pool_watch import Watch, watching
from pipelines.pools import Post
from pipelines.progress import Summary
from pipelines.settings import PathJob
from stages.model import Load

STACK = """Timeout (0:00:02)!
Thread 0x00007f (most recent call first):
  File "thread.py", line 81 in _worker

Thread 0x00008f (most recent call first):
  File "obey.py", line 22 in __call__
  File "step.py", line 135 in _run
  File "pool_worker.py", line 161 in _through
  File "pool_worker.py", line 150 in _in_time
"""


@pytest.fixture
def pools(tmp_path: Path) -> list[Post]:
    job = PathJob(job="test", path=["read", "decode"])
    some = [Post(name, (name,), job, Load("x"), tmp_path, "run") for name in ("read", "decode")]
    for post in some:
        post.work.mkdir(parents=True)
    return some


def process(post: Post, worker: str, node: str = "n1") -> Notes:
    made = Notes(post.work)
    made.place = replace(made.place, worker=worker, node=node, host="h", pid=7)
    made.tell("was in decode with 'a'")
    return made


def test_a_death_is_told_once_with_what_it_did_and_where(
    pools: list[Post], caplog: pytest.LogCaptureFixture
) -> None:
    ended = {"w1": "Worker exits. Some common causes include: (1) all sorts.", "n2": "its node"}
    lives, crashed = process(pools[1], "w0"), process(pools[1], "w1")
    process(pools[0], "w2", node="n2")
    crashed.stack.write_text(STACK)
    watch = Watch(pools, lambda: ended)
    with caplog.at_level(logging.WARNING, "pipelines.pool_watch"):
        watch.look()
        watch.look()
    assert caplog.messages == [
        "process 7 of pool read on h ended while it was in decode with 'a': its node",
        "process 7 of pool decode on h ended (Timeout (0:00:02)) while it was in decode with 'a': "
        'Worker exits; it was at "obey.py", line 22 in __call__, from "step.py", line 135 in _run, '
        'from "pool_worker.py", line 161 in _through',
    ]
    assert watch.died == {"read": 1, "decode": 1}
    assert lives.place.worker == "w0"


def test_a_process_that_was_done_is_not_told_as_dead(pools: list[Post]) -> None:
    process(pools[0], "w1").tell("was done", is_over=True)
    watch = Watch(pools, lambda: {"w1": "Worker exits."})
    watch.look()
    assert not watch.died
    watch.wait_closed()  # nobody is left to wait for


def test_the_summary_says_how_busy_pools_were_and_what_waited_between(pools: list[Post]) -> None:
    read, decode = (process(post, post.pool) for post in pools)
    watch = Watch(pools, dict)
    for given, got in ((30, 10), (40, 40)):
        read.worked.rows, decode.worked.rows_in, decode.worked.rows = given, given, got
        read.worked.out_seconds, decode.worked.in_seconds = 0.04, 0.08
        read.worked.bytes_out, decode.worked.seconds = 8000, 1.0
        for one in (read, decode):
            one.tell("waited")
        watch.look()
    decode.worked.alive_seconds = 0  # is what the clock says
    summary = Summary()
    watch.sum_up(summary)
    boundary = summary.boundaries["read to decode"]
    assert boundary["rows"] == 40
    assert boundary["bytes_per_row"] == 200
    assert boundary["microseconds_per_row"] == pytest.approx(3000)
    assert (boundary["rows_waiting"], boundary["most_rows_waiting"]) == (10, 20)
    pool = summary.pools["decode"]
    assert (pool["processes"], pool["died"], pool["nodes"]) == (1, 0, {"n1": 1})
    assert pool["rows_per_second"] > 0
    assert pool["busy"] == pytest.approx((1 + 0.08) / pool["alive_seconds"])


def test_a_cluster_that_is_gone_hides_no_error_of_the_run(
    pools: list[Post], monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> dict[str, str]:
        raise ConnectionError("no cluster")

    monkeypatch.setattr("pipelines.pool_watch.ended_processes", gone)
    process(pools[0], "w1")
    summary = Summary()
    with pytest.raises(RuntimeError, match="of the run"), watching(pools, summary):
        raise RuntimeError("of the run")
    assert summary.pools["read"]["processes"] == 1
