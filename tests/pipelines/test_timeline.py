import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.named import checkpoint_folder
from pipelines.progress import Summary
from pipelines.settings import PathJob
from pipelines.step import StageTimes, run_steps
from pipelines.timeline import TIMELINE, Timeline, memory, sampled
from pipelines.where import planned, where
from stages.model import Load
from stages.row import Row, Stage


@given(number=st.integers(1, 400))
def test_however_many_samples_come_few_are_kept_evenly_from_the_first_on(number: int) -> None:
    timeline = Timeline(Path("nowhere"), Summary(), every_s=1.0, most=8)
    now = 0.0
    for _ in range(number):
        timeline.add({"seconds": now})
        now += timeline.every_s
    kept = [sample["seconds"] for sample in timeline.samples]
    assert len(kept) < 8
    assert kept[0] == 0.0
    assert len(kept) >= min(number, 4)
    gaps = np.diff(kept)
    assert ((gaps >= timeline.every_s) & (gaps < 2 * timeline.every_s)).all()


def test_the_file_holds_where_it_ran_and_equally_long_columns_up_to_the_end(tmp_path: Path) -> None:
    summary = Summary()
    timeline = Timeline(tmp_path, summary)
    timeline.start({"plan": None})
    summary.rows, summary.failed = 7, 2
    summary.stage_seconds.add({"mel": 0.5})
    summary.stage_seconds.count({"mel": 7})
    timeline.close()
    kept = json.loads((tmp_path / TIMELINE).read_text())
    assert kept["plan"] is None
    assert kept["began"].endswith("+00:00")
    columns = kept["samples"]
    assert len({len(column) for column in columns.values()}) == 1
    last = {name: column[-1] for name, column in columns.items()}
    assert (last["rows"], last["failed"], last["mel.rows"], last["mel.seconds"]) == (7, 2, 7, 0.5)


def test_a_timeline_that_never_began_leaves_no_file(tmp_path: Path) -> None:
    Timeline(tmp_path, Summary()).close()
    assert not list(tmp_path.iterdir())


def test_a_run_ends_well_though_its_folder_is_gone(tmp_path: Path) -> None:
    timeline = Timeline(tmp_path / "gone", Summary())
    timeline.start({})
    timeline.close()
    assert timeline.samples


def test_what_other_processes_did_is_added_to_what_this_one_did() -> None:
    summary, there = Summary(), StageTimes({"decode": 2.0, "load": 3.0}.items())
    there.count({"decode": 5})
    summary.stage_seconds.add({"load": 1.0})
    summary.elsewhere = lambda: there
    sample = sampled(summary)
    assert (sample["decode.rows"], sample["decode.seconds"], sample["load.seconds"]) == (5, 2, 4)
    assert "elsewhere" not in summary.document()
    json.dumps(summary.document())


def test_this_process_has_memory_of_its_own_and_of_files() -> None:
    now = memory()
    assert now["memory.anonymous"] > 1e6
    assert now["memory.mapped"] > 1e6


def test_rows_are_counted_at_each_stage_they_come_out_of() -> None:
    class Same(Stage):
        def __call__(self, rows: list[Row]) -> list[Row]:
            return rows

    times = StageTimes()
    one = Same(None, Load("nowhere"))
    rows = [Row(item=name) for name in "abc"]
    run_steps({"mel": one, "fuse": one}, ["mel", "fuse"], rows, times)
    assert len(list(times.timed("read", iter(rows[:2])))) == 2
    assert times.rows == {"mel": 3, "fuse": 3, "read": 2}


def test_a_plan_tells_the_memory_of_a_load_and_none_where_nobody_knows() -> None:
    job = PathJob(job="transcribe", path=["read"])
    nano = str(checkpoint_folder("nano"))
    plan = planned(job, Load(nano, parts=("text",)), "float32")
    assert plan is not None
    assert (plan["size"], plan["batch"]) == ("full", job.executor.batch)
    assert {item["tier"] for item in plan["items"]} == {"device", "disk"}
    assert planned(job, Load(nano), "float64") is None
    assert json.loads(json.dumps(where()))["cores"] >= 1
