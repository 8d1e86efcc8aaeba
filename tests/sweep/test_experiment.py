"""Every YAML of conf/experiment is a sweep of each job that it names, and help lists it."""

import shlex
from functools import lru_cache
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines import catalogue, cli, compose
from pipelines.help import job_help
from pipelines.keys import Key
from pipelines.settings import SourceJob
from pipelines.sweep.axes import sort_words
from pipelines.sweep.command import Line, planned
from pipelines.sweep.experiment import GROUP, for_job, named, read_experiment, settings_of
from pipelines.sweep.runs import Run

SAMPLES = Path(__file__).parents[1] / "samples"
NAMES = catalogue.group_choices(GROUP)


@lru_cache
def defaults(job: str) -> Any:
    return compose.compose(job)


@lru_cache
def keys_of(job: str) -> dict[str, Key]:
    return compose.keys_of_config(defaults(job))


def runs(job: str, *words: str, many: bool = True) -> list[Run]:
    options = {"--multirun": ""} if many else {}
    return planned(Line(job, list(words), [], options), keys_of(job))[1]


@pytest.mark.parametrize("job", ["transcribe", "caption"])
def test_every_value_of_every_experiment_composes(job: str) -> None:
    axes: list[list[str]] = []
    for name in for_job(job):
        axes += [
            one.words for one in settings_of(read_experiment(name), job, keys_of(job)).values()
        ]
    assert max(map(len, axes)) > 1
    for words in zip_longest(*axes):  # of two experiments with the same setting the later counts
        given = [word for word in words if word is not None]
        overrides, _ = compose.overrides_of(job, keys_of(job), [*given, "source.path=a"])
        config = compose.compose(job, overrides)
        compose.check_used(job, config, overrides)
        assert isinstance(compose.to_settings(job, config), SourceJob)


def test_every_experiment_is_one_of_those_jobs() -> None:
    assert {*for_job("transcribe"), *for_job("caption")} == {*NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_every_job_of_an_experiment_has_all_that_it_sets(name: str) -> None:
    for job in read_experiment(name).jobs:
        swept = settings_of(read_experiment(name), job, keys_of(job))
        assert set(swept) <= {*keys_of(job)}
        unused = compose.unused_settings(defaults(job))
        assert not {key.partition(".")[0] for key in swept} & unused


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_is_and_has_examples_that_are_commands_of_its_jobs(
    name: str,
) -> None:
    title, examples = catalogue.heading(GROUP, name)
    assert title.endswith(".")
    commands = [shlex.split(example)[1:] for example in examples]
    assert any(job in read_experiment(name).jobs for job, *_ in commands)
    for job, *words in commands:
        if job == "report":  # what is to be done with the runs
            continue
        options, words, _ = cli.parse(words)
        found, typed = named(words)
        assert found == name
        before = settings_of(read_experiment(name), job, keys_of(job))
        sorted_ = sort_words(keys_of(job), typed, before, "--multirun" in options)
        assert sorted_.axes
        for _, some in sorted_.runs():
            compose.overrides_of(job, keys_of(job), some)


def test_help_of_a_job_lists_the_experiments_that_it_can_run() -> None:
    text = " ".join(job_help("evaluate", defaults("evaluate")).split())
    for name, title in for_job("evaluate").items():
        assert f"experiment={name} {title}" in text
    assert "experiment=size_precision" in text
    assert "experiment=segment_length" not in job_help("caption", defaults("caption"))
    assert "experiment" not in job_help("plan", defaults("plan"))


def test_words_win_over_an_experiment() -> None:
    source = str(SAMPLES / "audio")
    found = runs(
        "transcribe", source, "+experiment=size_precision", "precision=float32", many=False
    )
    assert [run.differs for run in found] == [{"nested": "full"}, {"nested": "small"}]
    assert {run.settings.precision.name for run in found} == {"float32"}


def test_an_experiment_of_ones_own_may_be_nested_and_speak_hydra(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "jobs: [transcribe]\nsweep: {decode: {top_k: 'range(1,2)'}, prompt: ['a, b', c]}\n"
        "decode: {max_new_tokens: 7}\nsink: {formats: [txt, csv]}\n"
    )
    found = runs("transcribe", str(SAMPLES / "audio"), f"experiment={file}", many=False)
    asked = [(run.settings.decode.top_k, run.settings.fuse.prompt) for run in found]
    assert asked == [(1, "a, b"), (1, "c")]
    assert {run.settings.decode.max_new_tokens for run in found} == {7}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sweep: {}", "says nothing to sweep. An experiment is a YAML with sweep:"),
        ("- a", "says nothing to sweep."),
        ("decode: {top_k: 1}", "says nothing to sweep."),
        ("a: [", "is not YAML."),
        ("jobs: [caption]\nsweep: {nested: [full, small]}", "is for caption, not for transcribe."),
        ("sweep: {nestd: [full, small]}", "transcribe has no setting nestd. Did you mean nested?"),
        ("sweep: {nested: [full]}", "has one value on this command line"),
        ("sweep: {decode.top_k: [1, many]}", "decode.top_k=many, but it takes a whole number."),
    ],
)
def test_a_file_that_is_no_experiment_is_refused(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        runs("transcribe", str(SAMPLES / "audio"), f"experiment={file}")
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["experiment=size_precison"], "Did you mean size_precision?"),
        (["experiment=no/such.yaml"], "No such file or directory"),
        (["experiment=throughput", "experiment=resolution"], "are both given"),
        (["experiment=task_resolution"], "is for caption, evaluate, not for transcribe"),
    ],
)
def test_an_experiment_that_there_is_not_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        runs("transcribe", str(SAMPLES / "audio"), *words)
