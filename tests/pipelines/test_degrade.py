"""What a job gives up for its budget, in which order, and that it says so."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from gemma3n.choices import Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.memory import GB
from pipelines.degrade import degraded
from pipelines.exit_code import DONE
from pipelines.job_plan import job_plan
from pipelines.run import check_job, model_load, run_job
from pipelines.settings import PathJob
from stages.media import Media
from stages.resize import Resolution
from stages.source import SourceSettings

SAMPLES = Path(__file__).parents[1] / "samples"
SIZES = ["full", "mix3", "mix2", "mix1", "small"]


@pytest.fixture
def job(tmp_path: Path) -> PathJob:
    """Pictures of 768 through nano, one at a time, more than its weights need."""
    asked = PathJob(
        job="caption",
        path=["read", "resize", "encode", "fuse", "decode", "write"],
        output=str(tmp_path / "out"),
        precision=Precision.float32,
        device=Device.cpu,
        source=SourceSettings(
            path=[str(SAMPLES / "images/digit-1300.png")], media=[Media.image], limit=1
        ),
        degrade=True,
    )
    asked.resize.resolution = Resolution["768"]
    asked.fuse.prompt = "What is this? <image>"
    asked.decode.max_new_tokens = 4
    asked.executor.batch = 1
    return asked


def need(job: PathJob, size: str, side: int) -> float:
    """GB that the job takes at a size, with pictures so large."""
    load = model_load(replace(job, nested=replace(job.nested, name=size, budget_gb=None)))
    small = replace(job, resize=replace(job.resize, resolution=Resolution[str(side)]))
    plan = job_plan(small, load, "float32", False)
    return (plan.tier("device") + plan.tier("host")) / GB


def given_up(job: PathJob, budget: float) -> tuple[str, int | None]:
    """Size and largest picture that are left."""
    job.nested.budget_gb = budget
    smaller, _ = degraded(job, model_load(job))
    assert smaller.nested.budget_gb is None
    return smaller.nested.name, smaller.resize.at_most


def test_a_size_goes_before_a_picture_and_no_more_than_has_to(job: PathJob) -> None:
    for size in SIZES:
        assert given_up(job, need(job, size, 768) + 1e-9) == (size, 768)
    for side in (512, 256):
        assert given_up(job, need(job, "small", side) + 1e-9) == ("small", side)


def test_what_cannot_be_held_at_all_is_refused_with_the_least(job: PathJob) -> None:
    job.nested.budget_gb = 1e-6
    with pytest.raises(
        SettingsError,
        match=r"budget_gb=1e-06, but .* even at size 'small' and pictures of 256 pixels a side\. "
        r"Raise the budget, take fewer rows at once \(executor.batch\)",
    ):
        degraded(job, model_load(job))


def test_pictures_of_a_task_that_needs_small_ones_are_not_what_has_to_go(job: PathJob) -> None:
    job.resize.resolution = Resolution["auto"]
    job.resize.by_task = {"caption": 256}
    job.fuse.task = "caption"
    assert given_up(job, need(job, "full", 256) + 1e-9) == ("full", 256)


def test_without_pictures_only_the_size_can_go(job: PathJob) -> None:
    text = replace(job, path=["read", "fuse", "decode", "write"])
    text.source.media = []
    assert given_up(text, need(text, "mix1", 256) + 1e-9)[0] == "mix1"
    text.nested.budget_gb = 1e-6
    with pytest.raises(SettingsError, match=r"even at size 'small'\. Raise"):
        degraded(text, model_load(text))


def test_a_run_says_what_it_gave_up_and_its_config_repeats_it(
    job: PathJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job.nested.budget_gb = need(job, "small", 256) + 1e-9
    assert run_job(job) == DONE
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["degraded"] == {
        "nested": {"was": "full", "is": "small"},
        "resize.resolution": {"was": 768, "is": 256},
    }
    assert summary["sizes"] == {"small": 1}
    said = "cannot hold the job, which needs "
    assert said in (tmp_path / "out/run.log").read_text()
    assert "degraded to nested=small, resize.resolution=256, which" in capsys.readouterr().err
    config = (tmp_path / "out/config.yaml").read_text()
    assert "name: small" in config
    assert "at_most: 256" in config
    assert run_job(job) == DONE  # the same command goes on


def test_a_job_that_fits_gives_up_nothing(job: PathJob) -> None:
    job.nested.budget_gb = 100
    assert degraded(job, model_load(job))[1] == {}


def test_without_degrade_a_job_stays_as_it_was_asked_for(job: PathJob) -> None:
    job.degrade, job.nested.budget_gb = False, 1e-6
    assert degraded(job, model_load(job)) == (job, {})


def test_a_job_that_is_to_give_way_to_no_budget_is_refused(job: PathJob) -> None:
    with pytest.raises(SettingsError, match=r"degrade=true .* Set nested.budget_gb, or leave"):
        check_job(job)
