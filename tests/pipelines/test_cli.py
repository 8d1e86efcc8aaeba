"""The command: what is printed where, which exit code, and that wrong use costs no heavy import."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import pipelines.run
from pipelines import cli
from pipelines.settings import PathJob

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "ray", "librosa", "sentencepiece")
WORDS = ["transcribe", "a.wav", "model=m"]

Runs = Callable[[object], list[tuple[PathJob, str]]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """Puts something else in place of the run: what it returns, or raises, is the argument."""

    def install(result: object) -> list[tuple[PathJob, str]]:
        jobs: list[tuple[PathJob, str]] = []

        def run_job(job: PathJob, command: str = "") -> object:
            jobs.append((job, command))
            if isinstance(result, BaseException):
                raise result
            return result

        monkeypatch.setattr(pipelines.run, "run_job", run_job)
        return jobs

    return install


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that wrong use is answered with."""
    assert cli.main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("gemma3n: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize("code", [0, 3, 130])
def test_the_exit_code_is_that_of_the_run(runs: Runs, code: int) -> None:
    jobs = runs(code)
    assert cli.main(["transcribe", "b c.wav", *WORDS[1:], "-o", "out dir/", "nested=small"]) == code
    ((job, command),) = jobs
    assert job.source.path == ["b c.wav", "a.wav"]
    assert (job.output, job.model.path, job.nested.name) == ("out dir/", "m", "small")
    assert shlex.split(command) == [
        *["gemma3n", "transcribe", 'source.path=["b c.wav",a.wav]', "model.path=m"],
        *["nested.name=small", 'output="out dir/"'],
    ]


def test_words_after_two_dashes_are_paths(runs: Runs) -> None:
    jobs = runs(0)
    assert cli.main([*WORDS, "--", "-x.wav", "precision=float32", "--", "-h"]) == 0
    assert jobs[0][0].source.path == ["a.wav", "-x.wav", "precision=float32", "--", "-h"]


def test_a_bug_is_not_swallowed(runs: Runs) -> None:
    runs(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError):
        cli.main(WORDS)


def test_an_interrupt_is_130(runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    runs(KeyboardInterrupt())
    assert cli.main(WORDS) == 130
    assert capsys.readouterr().err == "gemma3n: interrupted\n"


def test_help_is_on_stdout_and_no_words_at_all_is_wrong_use(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words, code in ((["--help"], 0), (["-h"], 0), ([], 2), (["transcribe", "-h"], 0)):
        assert cli.main(words) == code
        out, err = capsys.readouterr()
        assert "Usage: gemma3n" in out
        assert err == ""


def test_cfg_prints_the_composed_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["transcribe", "decode=sampling", "--cfg", "job"]) == 0
    out = capsys.readouterr().out
    assert "job: transcribe\n" in out
    assert "  top_k: 64\n" in out
    assert "  path: nano\n" in out
    assert "  path: ???\n" in out  # of the source


def test_the_printed_settings_start_the_same_run(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = runs(0)
    words = [*WORDS, "decode=sampling", "precision=float32"]
    assert cli.main([*words, "--cfg", "job"]) == 0
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    assert cli.main(words) == cli.main(["transcribe", "--from", str(tmp_path)]) == 0
    assert jobs[0][0] == jobs[1][0]
    assert jobs[1][1] == f"gemma3n transcribe --from {tmp_path}"


@pytest.mark.parametrize(
    "words",
    [
        ["prompt=${nested.name}, ${decode.seed}"],
        [r"prompt=\${nested.name}"],
        ["resize.resolution=256", "path=[read,mel,resize,encode,fuse,decode,write]"],
    ],
)
def test_printed_settings_mean_the_same_whatever_is_in_a_text(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    jobs = runs(0)
    assert cli.main([*WORDS, *words, "--cfg", "job"]) == 0
    (tmp_path / "config.yaml").write_text(capsys.readouterr().out)
    assert cli.main([*WORDS, *words]) == cli.main(["transcribe", "--from", str(tmp_path)]) == 0
    assert jobs[0][0] == jobs[1][0]


@pytest.mark.parametrize("output", ["null", "a b", "${x}", "'x'", "1e3", "a,b", "???"])
def test_what_is_given_with_o_is_a_path_as_it_was_typed(runs: Runs, output: str) -> None:
    jobs = runs(0)
    assert cli.main([*WORDS, "-o", output]) == 0
    assert Path(str(jobs[0][0].output)) == Path(output)


def test_a_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("gemma3n-pipelines")


def test_a_termination_is_an_interrupt_and_its_handler_is_put_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_job(job: PathJob, command: str = "") -> int:
        signal.raise_signal(signal.SIGTERM)
        return 0

    monkeypatch.setattr(pipelines.run, "run_job", run_job)
    before = signal.getsignal(signal.SIGTERM)
    assert cli.main(WORDS) == 130
    assert capsys.readouterr().err == "gemma3n: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_command_may_run_in_another_thread(runs: Runs) -> None:
    runs(0)
    with ThreadPoolExecutor() as pool:
        assert pool.submit(cli.main, WORDS).result() == 0


def test_a_file_named_like_a_setting_is_warned_of(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs(0)
    monkeypatch.chdir(tmp_path)
    Path("nested=small").touch()
    assert cli.main([*WORDS, "nested=small"]) == 0
    assert "to name the file write './nested=small'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["transcrib", "a.wav"], "Did you mean transcribe?"),
        (["transcribe"], "source.path is not set"),
        ([*WORDS, "decode.topk=1"], "Did you mean decode.top_k?"),
        (["slice", "model=m", "-o", "a", "--multirun"], "slice has no sweep"),
        ([*WORDS, "--config-name=x"], "option --config-name not recognized. Options are -o DIR"),
        ([*WORDS, "-x.wav"], "a path that starts with '-' goes after `--`"),
        ([*WORDS, "-o"], "option -o requires argument"),
        ([*WORDS, "-o", "a", "output=b"], "-o a and output= are both given."),
        (["plan", "model=m", "-o", "a"], "'-o a': plan has no setting output."),
        ([*WORDS, "job=caption"], "transcribe has no setting job."),
        ([*WORDS, "launcher=basic"], "transcribe has no setting launcher."),
        ([*WORDS, "resize.resolution=256"], "transcribe has no stage resize on its path ["),
        ([*WORDS, "path=[read,mel,write]", "decode=sampling"], "has no stage decode on its path"),
        (["train", "init=m", "train=[a]", "-o", "/proc/x"], "'/proc/x' cannot be written"),
        ([*WORDS, "--cfg", "hydra"], "only --cfg job exists"),
        ([*WORDS, "--from", "nope"], "--from nope: No such file or directory."),
    ],
)
def test_wrong_use_is_one_line_and_2(
    capsys: pytest.CaptureFixture[str], words: list[str], why: str
) -> None:
    assert why in refused(capsys, *words)


def test_a_model_folder_that_is_not_there_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").touch()
    assert "model folder 'm' does not exist" in refused(capsys, *WORDS)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_gap_in_the_path_is_refused_before_any_work(
    checkpoint_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").touch()
    words = ["transcribe", "a.wav", f"model={checkpoint_folder}"]
    line = refused(capsys, *words, "path=[read,encode,fuse,decode,write]")
    assert "Encode reads" in line
    assert "mel" in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


@pytest.mark.parametrize(
    ("words", "code", "unused"),
    [
        (["--help"], 0, ["hydra", "omegaconf", "numpy", "rich"]),
        (["transcribe", "-h"], 0, ["pyarrow"]),
        (["transcribe", "a.wav", "decode.topk=1"], 2, ["pyarrow"]),
        (["transcribe", "a.wav", "model=m", "precision=float16"], 2, ["pyarrow"]),
        (["transcribe", "no.wav", "model=m"], 2, []),
        (["plan", "model=tests/golden/checkpoint"], 0, ["pyarrow"]),
        (["slice", "model=no/such", "nested=small", "-o", "x"], 2, ["pyarrow"]),
    ],
)
def test_help_plans_and_wrong_use_import_nothing_heavy(
    words: list[str], code: int, unused: list[str]
) -> None:
    script = (
        "import sys; from pipelines.cli import main; code = main(sys.argv[1:]);"
        "print('modules', *sys.modules); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded.isdisjoint([*HEAVY, *unused])


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "pipelines", "nope"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("gemma3n: 'nope' is not a job")
