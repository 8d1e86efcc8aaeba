"""What a sweep's command line is refused for, what its runs are called, and where they go."""

from pathlib import Path

import pytest

from gemma3n.errors import SettingsError
from pipelines import cli, compose
from pipelines.sweep.command import Line, planned
from pipelines.sweep.runs import sweep_folder

SOURCE = str(Path(__file__).parents[1] / "samples/audio/en_allison")
KEYS = compose.keys_of_config(compose.compose("transcribe"))


def line(*words: str) -> Line:
    return Line("transcribe", [SOURCE, *words], [], {"--multirun": ""})


def names(*words: str) -> list[str]:
    return [run.name for run in planned(line(*words), KEYS)[1]]


def folder(*words: str) -> Path:
    found, runs, _ = planned(line(*words), KEYS)
    return sweep_folder("transcribe", found, runs)


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
    assert names("nested=small") == ["run"]


def test_names_are_folders_whatever_is_in_a_value_and_no_two_are_the_same() -> None:
    found = names("prompt='../a/<audio>?','../a/<audio>!','b: <audio>'")
    assert len({*found}) == 3
    for name in found:
        assert "/" not in name
        assert name.startswith("prompt-")
    (long, other) = names(f"prompt='{'a' * 300} <audio>','{'a' * 299}b <audio>'")
    assert long != other
    assert len(long) < 120


def test_the_same_sweep_finds_its_folder_and_another_has_another() -> None:
    same = folder("nested=full,small")
    assert same.parent == Path("outputs/transcribe")
    assert same.name.startswith("sweep-en_allison-")
    # It grew; and what changes no result makes no other of it.
    assert (
        folder("nested=small,e2b", "executor.batch=2", "sink.formats=[txt]", "fresh=true") == same
    )
    assert folder("nested=full,small", "decode.top_k=2") != same
    assert folder("precision=float32,bfloat16") != same


def test_a_group_may_differ() -> None:
    words = ["decode={top_k:1},{top_k:2}"]
    assert folder(*words) == folder("decode={top_k:3},{top_k:2}")
    assert len(names(*words)) == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["plan", "-m", "sizes=[full],[small]"], "plan has no sweep"),
        (["transcribe", "-", "-m", "nested=full,small"], "Write the list to a manifest"),
        (["transcribe", SOURCE, "-j", "2"], "-j 2 is how many runs of a sweep"),
        (["transcribe", SOURCE, "-m", "-j", "0", "nested=full,small"], "1 or more"),
        (["transcribe", SOURCE, "-m", "nested=full,small", "output=a,b"], "a sweep has one folder"),
        (["transcribe", SOURCE, "-m", "nested=full,small", "output=o/${nested.name}"], "without $"),
        (["transcribe", SOURCE, "-m", "nested=a,b", "output=a", "-o", "b"], "are both given"),
        (["transcribe", SOURCE, "-m", "precision=float32,float16"], "float16 overflows"),
        (["transcribe", SOURCE, "-m", "nestd=full,small"], "Did you mean nested?"),
        (["transcribe", SOURCE, "-m", "decode.top_k=1,many"], "it takes a whole number"),
        (["transcribe", SOURCE, "-m", "resize.resolution=256,512"], "has no stage resize"),
        (["transcribe", "no/such", "-m", "nested=full,small"], "no/such"),
        (
            ["transcribe", SOURCE, "-m", "decode.seed=range(0,40)", "decode.top_k=range(1,40)"],
            "156",
        ),
        (["transcribe", SOURCE, "decode.top_k=1,2"], "Add -m"),
    ],
)
def test_a_sweep_that_cannot_be_is_refused_before_any_run(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    why: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert why in refused(capsys, *words)
    assert not list(tmp_path.iterdir())


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
        names("decode.seed=range(0,40)", "decode.top_k=range(1,40)")
