"""What the driver of `executor=ray` says when something is wrong; no cluster is started."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.exceptions import RayError

from gemma3n.errors import SettingsError
from pipelines import ray_data
from pipelines.finished import Finished
from pipelines.progress import Summary
from pipelines.settings import ExecutorSettings, PathJob, PlePlacement
from stages.model import Load


def test_what_a_process_refuses_is_told_in_its_own_line() -> None:
    with pytest.raises(SettingsError, match=r"^there is no device$"), ray_data._plainly():
        raise RayError("died:\n  File x\ngemma3n.errors.SettingsError: there is no device\n")


def test_a_full_disk_is_a_full_disk_and_a_bug_stays_one() -> None:
    with pytest.raises(OSError, match="No space") as caught, ray_data._plainly():
        raise RayError("a task failed") from OSError(errno.ENOSPC, "No space")
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(RayError, match="a bug"), ray_data._plainly():
        raise RayError("a bug")


def test_a_node_without_the_list_says_what_all_nodes_share(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"is not the folder .* Give an output that all nodes"):
        next(ray_data._noted(tmp_path / "listed.arrow", 0))


def test_tasks_grow_with_their_number_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_data, "_TASKS", 2)
    monkeypatch.setattr(ray_data, "_DOUBLINGS", 2)
    numbers: Any = iter(range(64))
    tasks: list[Any] = list(ray_data._tasks(numbers, 3))
    assert [len(task) for task in tasks] == [3, 3, 6, 6, 12, 12, 12, 10]
    assert [number for task in tasks for number in task] == list(range(64))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run of three items, of which so many come out."""
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n' * 3)

    @contextmanager
    def no_cluster(*_: Any) -> Iterator[int]:
        yield 1

    def start(came: int) -> Summary:
        monkeypatch.setattr(ray_data, "_cluster", no_cluster)
        monkeypatch.setattr(ray_data, "_held_by_others", lambda *_: {})
        monkeypatch.setattr("pipelines.pool_watch.ended_processes", dict)
        monkeypatch.setattr(ray_data, "_dataset", lambda *_: None)
        monkeypatch.setattr(ray_data, "_go", lambda *_: came)
        job, summary = PathJob(job="test", path=["read", "write"]), Summary()
        job.source.path = [str(tmp_path / "rows.jsonl")]
        executor = ray_data.RayData(ExecutorSettings(items_a_task=2))
        executor.run(
            job, Load(folder="nano"), tmp_path / "out", summary, lambda: None, Finished([])
        )
        return summary

    return start


def test_items_that_do_not_come_out_are_no_success(run: Any, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"1 of 3 items went in and did not come out\. The same"):
        run(came=2)
    assert not (tmp_path / "out/.ray").exists()


def test_items_that_came_out_and_are_not_there_are_counted(run: Any) -> None:
    summary = run(came=3)
    assert (summary.total, summary.lost) == (3, 3)
    assert set(summary.stage_seconds) == {"list"}


def test_what_others_hold_and_shards_will_is_not_for_the_pools(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 8.0, "GPU": 2.0, "memory": 100.0})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 5.0, "memory": 60.0})
    job = PathJob(job="test")
    job.executor.pools.ple.memory = 7.0
    held = {"CPU": 3.0, "GPU": 2.0, "memory": 40.0}
    assert ray_data._held_by_others(job) == held
    job.ple.placement, job.ple.shards = PlePlacement.store, 4
    assert ray_data._held_by_others(job) == {"CPU": 3.4, "GPU": 2.0, "memory": 68.0}
