from pathlib import Path

import pytest

from pipelines.asked import asked_by
from pipelines.nano.recipe import stages


@pytest.mark.parametrize("share", [1.0, 0.04])
def test_each_stage_begins_where_the_one_before_ended_and_warms_up_in_time(share: float) -> None:
    runs = list(stages(Path("data"), Path("runs"), share))
    names = [Path(run.output).name for run in runs]
    assert names == ["glance", "pictures", "speech", "listen", "joint", "captions"]
    assert [Path(run.init) for run in runs] == [
        Path("data/init"),
        *(Path(run.output) / "checkpoint" for run in runs[:-1]),
    ]
    for run in runs:
        assert 0 < run.rate.warmup <= run.steps / 4


def test_weights_of_an_earlier_run_go_through_all_stages_once_more() -> None:
    first, *later = stages(Path("data"), Path("runs"), 0.2, Path("nano"))
    assert (first.init, first.steps) == ("nano", 1400)
    assert [Path(run.init).parts[0] for run in later] == ["runs"] * 5


def test_training_asks_what_the_jobs_ask() -> None:
    joint = list(stages(Path("data"), Path("runs"), 1.0))[-1]
    assert joint.audio_prompt == asked_by("transcribe")
    assert "<audio>" in joint.audio_prompt
    assert joint.image_prompt == asked_by("caption")
    assert "<image>" in joint.image_prompt
