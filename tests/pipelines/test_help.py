"""Help shows examples first, then every setting, in the width of the terminal."""

import re
from typing import Any

import pytest

from pipelines import catalogue, compose
from pipelines.help import general_help, job_help


def help_of(job: str) -> str:
    return job_help(job, compose.compose(job))


def keys(job: str) -> dict[str, Any]:
    return compose.keys_of_config(compose.compose(job))


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")


def test_general_help_has_a_line_and_an_example_of_every_job() -> None:
    text = general_help()
    for job in catalogue.jobs():
        title, examples = catalogue.heading(job)
        assert f"  {job} " in text
        assert title.split(":")[0] in text
        assert examples[0] in text
    assert text.index("gemma3n transcribe") < text.index("Usage:")


@pytest.mark.parametrize("job", catalogue.jobs())
def test_every_setting_has_a_line_of_explanation(job: str) -> None:
    for key in keys(job).values():
        assert key.doc, f"{key.name} has no doc: write it in setting(default, doc)"
        assert "\n" not in key.doc


@pytest.mark.parametrize("job", catalogue.jobs())
def test_help_of_a_job_shows_examples_first_and_then_every_setting(job: str) -> None:
    lines = help_of(job).splitlines()
    examples = catalogue.heading(job)[1]
    assert [line.strip() for line in lines[2 : 2 + len(examples)]] == examples
    unused = compose.unused_settings(compose.compose(job))
    for key in keys(job):
        shown = re.sub(r"^(executor\.pools)\.\w+", r"\1.*", key)
        times = sum(line.startswith(f"  {shown}=") for line in lines)
        assert times == (key.partition(".")[0] not in unused)


def test_help_shows_the_defaults_of_the_job_and_of_the_schema() -> None:
    text = help_of("transcribe")
    assert '  fuse.prompt=""  ' in text
    assert "  fuse.task=transcribe  " in text
    assert "  source.media=[audio]" in text
    assert "  model.path=nano" in text
    assert "  source.path=...  " in text
    assert "  decode.top_k=0  " in text
    assert "  output=null  " in text


def test_help_names_choices_short_names_and_yaml_of_a_group() -> None:
    assert "(text | vision | audio)" in help_of("plan")
    text = help_of("transcribe")
    assert "[or model=]" in text
    assert "  decode=sampling  " in text


def test_help_shows_what_each_task_asks() -> None:
    assert "  task=detection          Find the objects in this picture." in help_of("caption")
    assert "  task=translate          Translate the following speech" in help_of("translate")
    assert "[or task=]" in help_of("caption")
    assert "[or task=]" not in help_of("evaluate")  # there it is a setting itself


def test_help_shows_only_the_options_that_a_job_has() -> None:
    assert "-o DIR" in help_of("slice")
    assert "-o DIR" not in help_of("plan")
    for job in catalogue.jobs():
        saves = job in ("transcribe", "translate", "caption", "generate", "evaluate", "train")
        assert ("--from FILE" in help_of(job)) == saves
    assert "[paths]" not in help_of("plan")
    assert "[paths]" in help_of("caption")


@pytest.mark.parametrize("width", [50, 80, 140])
def test_help_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for text in (general_help(), help_of("transcribe")):
        for line in text.splitlines():
            # Examples are for copying: they are never broken.
            assert len(line) <= width or line.lstrip().startswith(("gemma3n ", "fuse.prompt="))


def test_help_shows_once_what_all_pools_have() -> None:
    text = " ".join(help_of("transcribe").split())
    assert "executor.pools.*.num_gpus=0.0 GPUs of each" in text
    assert (
        "at least 1 (read 0.25, encode 0.5, decode 1.0, escalate 1.0, write 0.1, ple 0.1)" in text
    )
    assert "executor.pools.read" not in text


def test_help_hides_what_cannot_be_set_or_does_nothing() -> None:
    assert "resize." not in help_of("transcribe")
    assert "  resize.resolution=auto" in help_of("caption")
    assert "  job=" not in help_of("transcribe")
