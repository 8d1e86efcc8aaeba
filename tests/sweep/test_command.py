"""What a sweep's command line is refused for, what its runs are called, and where they go."""

import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines import cli, compose
from pipelines.compose import typed_path
from pipelines.settings import PathJob
from pipelines.sweep.axes import sort_words
from pipelines.sweep.command import Line, planned
from pipelines.sweep.runs import Run, folder_name, sweep_folder

SOURCE = str(Path(__file__).parents[1] / "samples/audio/en_allison")
KEYS = compose.keys_of_config(compose.compose("transcribe"))


def line(*words: str) -> Line:
    return Line("transcribe", [SOURCE, *words], [], {"--multirun": ""})


def names(*words: str) -> list[str]:
    return [folder_name(own) for own, _ in sort_words(KEYS, words, {}, many=True).runs()]


@lru_cache
def base() -> PathJob:
    words = [f"source.path=[{typed_path(SOURCE)}]"]
    settings: PathJob = compose.to_settings("transcribe", compose.compose("transcribe", words))
    return settings


def folder(*words: str, **changes: Any) -> Path:
    """Of a sweep with these axes, whose first run has the changes."""
    settings = replace(base(), **changes)
    found = sort_words(KEYS, words, {}, many=True)
    return sweep_folder("transcribe", found, [Run("a", {}, [], settings)])


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    return err


def test_a_run_is_named_by_what_differs() -> None:
    assert names("nested=full,small", "decode.top_k=choice(1)", "precision=float32,bfloat16") == [
        "nested-full_precision-float32",
        "nested-full_precision-bfloat16",
        "nested-small_precision-float32",
        "nested-small_precision-bfloat16",
    ]


def test_names_are_folders_whatever_is_in_a_value() -> None:
    found = names("prompt='../a/<audio>?','b: <audio>'")
    assert len({*found}) == 2
    for name in found:
        assert "/" not in name
        assert name.startswith("prompt-")
    (long, other) = names(f"prompt='{'a' * 300} <audio>','{'a' * 299}b <audio>'")
    assert long != other
    assert len(long) < 120


def test_no_two_runs_have_the_same_name_and_one_alone_has_one() -> None:
    runs = planned(line("prompt='<audio>?','<audio>!'"), KEYS)[1]
    assert len({run.name for run in runs}) == 2
    (alone,) = planned(line("nested=small"), KEYS)[1]
    assert alone.name == "run"


def test_the_same_sweep_finds_its_folder_and_another_has_another() -> None:
    axes = "nested=full,small"
    same = folder(axes)
    assert same.parent == Path("outputs/transcribe")
    assert same.name.startswith("sweep-en_allison-")
    assert folder("nested=small,e2b", nested=replace(base().nested, name="small")) == same
    executor = replace(base().executor, batch=2)
    assert folder(axes, executor=executor, sink=replace(base().sink, formats=[])) == same
    assert folder(axes, fresh=True, output="x") == same
    assert folder(axes, decode=replace(base().decode, top_k=2)) != same
    assert folder("precision=float32,bfloat16") != same


def test_of_a_group_that_differs_no_setting_tells_sweeps_apart() -> None:
    axes = "decode={top_k:1},{top_k:2}"
    assert folder(axes, decode=replace(base().decode, top_k=1)) == folder(axes)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["plan", "-m", "sizes=[full],[small]"], "plan has no sweep"),
        (["transcribe", SOURCE, "-j", "2"], "-j 2 is how many runs of a sweep"),
        (["transcribe", SOURCE, "-m", "-j", "0", "nested=full"], "1 or more"),
        (["transcribe", SOURCE, "-m", "output=o/${nested.name}"], "without ${...}"),
        (["transcribe", SOURCE, "-m", "output=a", "-o", "b"], "are both given"),
        (["transcribe", SOURCE, "decode.top_k=1,2"], "Add -m"),
    ],
)
def test_a_command_that_cannot_be_is_refused_before_any_run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["output=a,b"], "a sweep has one folder"),
        (["precision=float16,float32"], "float16 overflows"),
        (["nestd=full,small"], "Did you mean nested?"),
        (["decode.top_k=many,1"], "it takes a whole number"),
        (["resize.resolution=256,512"], "has no stage resize"),
        (["source.max_segment_s=0,5"], "max_segment_s=0"),
    ],
)
def test_runs_that_cannot_be_are_refused(words: list[str], why: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(why)):
        planned(line(*words), KEYS)


def test_a_source_that_can_be_read_once_or_not_at_all_is_refused() -> None:
    for path, why in (("-", "Write the list to a manifest"), ("no/such", "no/such")):
        with pytest.raises(SettingsError, match=why):
            planned(Line("transcribe", [path, "nested=full,small"], [], {"--multirun": ""}), KEYS)


def test_cfg_prints_the_settings_of_each_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["transcribe", SOURCE, "-m", "nested=full,small", "--cfg", "job"]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert out.count("--- # nested-") == 2
    assert "name: full\n" in out
    assert "name: small\n" in out


def test_a_folder_of_one_run_is_no_folder_of_a_sweep(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text("# gemma3n transcribe\n")
    why = refused(capsys, "transcribe", SOURCE, "-m", "nested=full,small", "-o", str(tmp_path))
    assert "is the folder of one run" in why


def test_an_earlier_run_may_be_swept_from(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"decode: {{top_k: 5}}\nsource: {{path: ['{SOURCE}']}}\n")
    run = compose.read_run("transcribe", compose.compose("transcribe"), tmp_path)
    asked = Line("transcribe", ["nested=full,small"], [], {"--multirun": ""}, run)
    found = planned(asked, KEYS)[1]
    assert [one.settings.decode.top_k for one in found] == [5, 5]


def test_too_many_runs_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"40 decode\.seed x 39 decode\.top_k are 1560 runs"):
        planned(line("decode.seed=range(0,40)", "decode.top_k=range(1,40)"), KEYS)
