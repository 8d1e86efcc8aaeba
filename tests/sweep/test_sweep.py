"""Runs of a sweep: how many at once, what ends which, what is done again. No process is started."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from gemma3n.errors import SettingsError
from pipelines import compose
from pipelines.cli import main
from pipelines.compose import typed_path
from pipelines.exit_code import BUG, DONE, INTERRUPTED, ROWS_FAILED, WRONG_USE
from pipelines.settings import PathJob
from pipelines.sweep import sweep as module
from pipelines.sweep.index import SWEEP, Entry, Index, earlier_runs, worst
from pipelines.sweep.runs import Run
from pipelines.sweep.sweep import Sweep, run_sweep

SAMPLES = Path(__file__).parents[1] / "samples/audio/en_allison"


class Runs:
    """In place of processes: what each run does, and how many were at work at once."""

    def __init__(self) -> None:
        self.codes: dict[str, int] = {}
        self.says: dict[str, str] = {}
        self.begun: list[str] = []
        self.words: list[list[str]] = []
        self.interrupts: set[str] = set()  # runs that are begun when Ctrl-C comes
        self.stopped: list[str] = []
        self.now = self.most = 0

    def process(
        self,
        words: Sequence[str],
        console: Path,
        threads: int | None,
        tell: Callable[[str], None],
        ended: Callable[[], None],
    ) -> Any:
        return _Process(self, list(words), console, tell, ended)


class _Process:
    def __init__(
        self,
        runs: Runs,
        words: list[str],
        console: Path,
        tell: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        name = console.stem
        self.runs, self.name, self.ended = runs, name, ended
        runs.begun.append(name)
        runs.words.append(words)
        runs.now += 1
        runs.most = max(runs.most, runs.now)
        if name in runs.interrupts:
            self._code = INTERRUPTED
            raise KeyboardInterrupt
        self._code = runs.codes.get(name, DONE)
        folder = console.parents[1] / name
        if self._code != WRONG_USE:
            folder.mkdir(exist_ok=True)
            (folder / "config.yaml").write_text("# gemma3n transcribe\n")
            summary = {"items": 3, "earlier": 0, "seconds": 2.0, "peak_rss_bytes": 10**8}
            (folder / "summary.json").write_text(json.dumps(summary))
        self.tail = [runs.says.get(name, "")]
        tell(f"2026-01-01 00:00:00,000 INFO x: {name} is at work")
        Thread(target=ended).start()

    def code(self) -> int:
        self.runs.now -= 1
        return self._code

    def stop(self) -> None:
        self.runs.stopped.append(self.name)

    kill = stop


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(module, "RunProcess", found.process)
    return found


@lru_cache
def base() -> PathJob:
    words = [f"source.path=[{typed_path(str(SAMPLES))}]"]
    settings: PathJob = compose.to_settings("transcribe", compose.compose("transcribe", words))
    return settings


def sweep(out: Path, parallel: int = 1, **changes: Any) -> int:
    """Five runs of a job, which has the changes."""
    some = []
    for seed in range(5):
        settings = replace(base(), decode=replace(base().decode, seed=seed))
        overrides = [f"source.path=[{SAMPLES}]", f"decode.seed={seed}"]
        run = Run(f"seed-{seed}", {"decode.seed": str(seed)}, overrides, settings)
        some.append(replace(run, settings=replace(settings, **changes)))
    axes = {"decode.seed": [str(seed) for seed in range(5)]}
    return run_sweep(Sweep("transcribe", "gemma3n transcribe", axes, some, [], parallel), out)


def index(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / SWEEP).read_text())["runs"]
    return found


def test_a_run_that_fails_ends_no_other_and_the_code_is_the_worst(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.codes = {"seed-1": BUG, "seed-2": -9, "seed-3": ROWS_FAILED}
    runs.says = {"seed-1": "ZeroDivisionError: division by zero"}
    assert sweep(tmp_path) == BUG
    assert runs.begun == [f"seed-{n}" for n in range(5)]
    assert [one["code"] for one in index(tmp_path)] == [0, 1, -9, 3, 0]
    out, err = capsys.readouterr()
    assert "seed-1: ZeroDivisionError: division by zero\n" in out
    assert "seed-2: its process was ended by SIGKILL, as the system does where memory" in out
    assert out.splitlines()[-1] == str(tmp_path)
    assert "run 5 of 5, seed-4, begins" in err


def test_the_same_command_begins_only_what_has_not_finished(runs: Runs, tmp_path: Path) -> None:
    runs.codes = {"seed-1": BUG, "seed-3": ROWS_FAILED}
    assert sweep(tmp_path) == BUG
    runs.begun, runs.codes = [], {}
    assert sweep(tmp_path) == DONE
    assert runs.begun == ["seed-1", "seed-3"]
    runs.begun = []
    assert sweep(tmp_path) == DONE
    assert runs.begun == []
    by_name = {one["name"]: one for one in index(tmp_path)}
    assert by_name["seed-0"]["results"][0]["items_per_s"] == 1.5
    assert by_name["seed-1"]["done"][""]["items"] == 6  # of both times


def test_what_changes_the_results_or_a_wish_begins_a_run_again(runs: Runs, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    (source / "a.wav").write_bytes(b"1")
    changes: dict[str, Any] = {"source": replace(base().source, path=[str(source)])}

    def begun(**more: Any) -> int:
        runs.begun = []
        assert sweep(out, **(changes | more)) == DONE
        return len(runs.begun)

    assert (begun(), begun()) == (5, 0)
    nested = replace(base().nested, name="small")
    assert (begun(nested=nested), begun(nested=nested)) == (5, 0)
    assert begun(nested=nested, fresh=True) == 5
    (source / "b.wav").write_bytes(b"1")
    assert (begun(nested=nested), begun(nested=nested)) == (5, 0)
    (out / "seed-1/config.yaml").unlink()
    assert begun(nested=nested) == 1
    assert runs.begun == ["seed-1"]


def test_failed_rows_are_not_tried_again_where_nobody_wants_it(runs: Runs, tmp_path: Path) -> None:
    runs.codes = {"seed-1": ROWS_FAILED}
    assert sweep(tmp_path) == ROWS_FAILED
    runs.begun = []
    assert sweep(tmp_path, retry_failed=False) == ROWS_FAILED
    assert runs.begun == []


def test_several_are_at_work_at_once_but_no_more_than_that(runs: Runs, tmp_path: Path) -> None:
    assert sweep(tmp_path / "1") == DONE
    assert runs.most == 1
    assert sweep(tmp_path / "3", parallel=3) == DONE
    assert runs.most == 3
    assert sorted(runs.begun[5:]) == [f"seed-{n}" for n in range(5)]


def test_a_run_is_told_all_that_was_asked_and_its_own_folder(runs: Runs, tmp_path: Path) -> None:
    words = ["transcribe", str(SAMPLES), "-m", "decode.seed=7,8", "nested=small"]
    assert main([*words, "-o", str(tmp_path / "a b")]) == DONE
    job, *words = runs.words[1]
    keys = compose.keys_of_config(compose.compose(job))
    overrides, _ = compose.overrides_of(job, keys, words)
    asked = compose.to_settings(job, compose.compose(job, overrides))
    assert isinstance(asked, PathJob)
    assert (asked.decode.seed, asked.nested.name) == (8, "small")
    assert asked.output == str(tmp_path / "a b/seed-8")
    assert asked.source.path == [str(SAMPLES)]


def test_an_interrupt_begins_no_more_and_says_how_to_go_on(
    runs: Runs, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs.interrupts = {"seed-2"}
    assert sweep(tmp_path) == INTERRUPTED
    assert runs.begun == ["seed-0", "seed-1", "seed-2"]
    assert "interrupted; 2 of 5 runs are finished, and the same command goes on" in (
        capsys.readouterr().err
    )
    assert [one["code"] for one in index(tmp_path)] == [0, 0, None, None, None]
    runs.interrupts, runs.begun = set(), []
    assert sweep(tmp_path) == DONE
    assert runs.begun == ["seed-2", "seed-3", "seed-4"]


def test_what_ended_unseen_is_counted_when_the_sweep_goes_on(runs: Runs, tmp_path: Path) -> None:
    assert sweep(tmp_path) == DONE
    before = json.loads((tmp_path / SWEEP).read_text())
    for one in before["runs"][3:]:  # as if the sweep had been killed right after the runs' ends
        one |= {"code": None, "done": {}, "counted": {}, "results": [], "fingerprint": None}
    (tmp_path / SWEEP).write_text(json.dumps(before))
    runs.begun = []
    assert sweep(tmp_path) == DONE
    assert runs.begun == ["seed-3", "seed-4"]
    assert [one["done"][""]["items"] for one in index(tmp_path)] == [3, 3, 3, 6, 6]


@pytest.mark.parametrize("text", ["[]", "{}", "no", '{"runs": [{}]}'])
def test_an_index_of_somebody_else_is_refused(runs: Runs, tmp_path: Path, text: str) -> None:
    (tmp_path / SWEEP).write_text(text)
    with pytest.raises(SettingsError, match="is not the index of a sweep"):
        sweep(tmp_path)
    assert (tmp_path / SWEEP).read_text() == text
    assert not runs.begun


def test_an_index_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    assert earlier_runs(tmp_path) == {}
    entry = Entry("é", "é", {"a": "b,c"}, ["a=b"], -9, 1.5, "why", [{"size": None}])
    Index("caption", "gemma3n caption", {"a": ["b,c"]}, [entry]).write(tmp_path)
    assert earlier_runs(tmp_path) == {"é": entry}


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        ([0, 0], 0),
        ([0, 3], 3),
        ([3, 2, 0], 2),
        ([1, 2, 3], 1),
        ([0, -11, 3], 1),
        ([], 0),
        ([1, 130], 130),
    ],
)
def test_the_worst_code(codes: list[int], code: int) -> None:
    assert worst(codes) == code
