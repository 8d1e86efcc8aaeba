import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest

from gemma3n.errors import InputError, SettingsError
from pipelines.finished import Finished
from pipelines.in_process import InProcess
from pipelines.progress import Summary, live_line
from pipelines.settings import ExecutorSettings, PathJob
from stages.model import Load
from stages.row import Row, Stage

LOAD = Load(folder="nowhere")


class Fake(Stage):
    """Notes what it gets, and does `work` on each row."""

    def __init__(self, work: Callable[[Row], Any] = lambda row: None) -> None:
        super().__init__(None, LOAD)
        self.work, self.closed = work, False
        self.batches: list[list[str]] = []

    def __call__(self, rows: list[Row]) -> list[Row]:
        self.batches.append([row["item"] for row in rows])
        for row in rows:
            self.work(row)
        return rows

    def close(self) -> None:
        self.closed = True


class Halve(Fake):
    """Reads an item as two segments."""

    expands: ClassVar[bool] = True

    def __call__(self, rows: list[Row]) -> list[Row]:
        super().__call__(rows)
        return [{**r, "segment": n, "last": n == 1} for r in rows for n in (0, 1)]


class FakeWrite(Fake):
    sees_errors: ClassVar[bool] = True


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in "abcde":
        (tmp_path / f"{name}.wav").touch()
    (tmp_path / "notes.txt").touch()
    return tmp_path


def run(
    source: Path, monkeypatch: pytest.MonkeyPatch, batch: int = 2, **stages: Fake
) -> tuple[Summary, dict[str, Fake]]:
    stages = {"read": Fake(), "mel": Fake(), "decode": Fake(), "write": FakeWrite(), **stages}
    monkeypatch.setattr("pipelines.in_process.build_stage", lambda name, *_: stages[name])
    job = PathJob(job="test", path=list(stages))
    job.source.path = [str(source)]
    summary = Summary()
    InProcess(ExecutorSettings(batch=batch)).run(
        job, LOAD, source, summary, lambda: None, Finished([])
    )
    return summary, stages


def test_every_stage_gets_every_item_in_batches_in_order(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, stages = run(source, monkeypatch)
    for name in ("decode", "write"):
        assert stages[name].batches == [["a.wav", "b.wav"], ["c.wav", "d.wav"], ["e.wav"]]
    for name in ("read", "mel"):
        assert sorted(stages[name].batches) == [[f"{item}.wav"] for item in "abcde"]


def test_the_model_gets_whole_batches_where_items_have_several_segments(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary, stages = run(source, monkeypatch, batch=3, read=Halve())
    assert [len(batch) for batch in stages["decode"].batches] == [3, 3, 3, 1]
    assert (summary.items, summary.rows) == (5, 10)


def test_a_failed_row_reaches_write_and_is_counted(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(row: Row) -> None:
        if row["item"] == "b.wav":
            raise InputError("no")

    summary, stages = run(source, monkeypatch, mel=Fake(refuse))
    assert ["a.wav", "b.wav"] in stages["write"].batches
    assert ["a.wav"] in stages["decode"].batches
    assert (summary.items, summary.failed) == (5, 1)


def test_what_was_done_is_summed_up(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hear(row: Row) -> None:
        row["audio_s"] = 1.5

    def answer(row: Row) -> None:
        row["new_tokens"] = 4

    summary, _ = run(source, monkeypatch, read=Fake(hear), decode=Fake(answer))
    assert (summary.audio_seconds, summary.new_tokens) == (7.5, 20)
    assert summary.skipped == {".txt": 1}
    assert summary.seconds > 0
    assert set(summary.stage_seconds) == {"load", "read", "mel", "decode", "write"}
    assert summary.document()["peak_rss_bytes"] > 1e6


def test_reading_is_ahead_of_the_model(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    second_is_read = threading.Event()

    def read(row: Row) -> None:
        if row["item"] == "b.wav":
            second_is_read.set()

    def decode(row: Row) -> None:
        if row["item"] == "a.wav":
            assert second_is_read.wait(timeout=10)

    _, stages = run(source, monkeypatch, batch=1, read=Fake(read), decode=Fake(decode))
    assert len(stages["decode"].batches) == 5


@pytest.mark.parametrize("where", ["read", "decode"])
def test_a_bug_stops_the_run_and_every_stage_is_closed(
    source: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def fail(row: Row) -> None:
        if row["item"] == "c.wav":
            raise ZeroDivisionError

    stages = {"read": Fake(), "decode": Fake(), "write": FakeWrite(), where: Fake(fail)}
    with pytest.raises(ZeroDivisionError):
        run(source, monkeypatch, 2, **stages)
    assert stages["write"].batches == [["a.wav", "b.wav"]]
    assert all(stage.closed for stage in stages.values())


def test_an_interrupted_run_has_counted_what_was_written(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(row: Row) -> None:
        if row["item"] == "e.wav":
            raise KeyboardInterrupt

    summary = Summary()
    stages = {"read": Fake(), "decode": Fake(interrupt), "write": FakeWrite()}
    monkeypatch.setattr("pipelines.in_process.build_stage", lambda name, *_: stages[name])
    job = PathJob(job="test", path=list(stages))
    job.source.path = [str(source)]
    with pytest.raises(KeyboardInterrupt):
        InProcess(ExecutorSettings(batch=2)).run(
            job, LOAD, source, summary, lambda: None, Finished([])
        )
    assert summary.items == 4


def test_progress_is_a_log_line_and_each_failed_row_too(
    source: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(row: Row) -> None:
        if row["item"] == "b.wav":
            raise InputError("no")

    with caplog.at_level("INFO", logger="pipelines"):
        run(source, monkeypatch, mel=Fake(refuse))
    assert caplog.messages[0] == "'b.wav' failed in mel: no"
    assert caplog.messages[1].startswith("2 items in ")
    assert len(caplog.messages) == 2  # a line every few seconds, however fast rows are


def test_a_summary_is_one_line_with_what_there_was() -> None:
    summary = Summary(items=3, rows=3, failed=1, new_tokens=7, seconds=2.0)
    assert str(summary) == "3 items in 2.0 s, 1 rows failed, 7 new tokens"
    summary.audio_seconds, summary.images = 36.0, 2
    summary.skipped.update({".txt": 2, "": 1})
    assert str(summary) == (
        "3 items in 2.0 s, 1 rows failed, 0.010 h of audio (18.0 times real time), 2 images, "
        "7 new tokens, 3 files of other kinds skipped (.txt without-extension)"
    )


def test_a_terminal_shows_the_summary_live_and_a_file_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    summary = Summary()
    with live_line(summary) as show:
        show()
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with live_line(summary) as show:
        summary.items, summary.images, summary.audio_seconds = 17, 3, 3600.0
        show()
    out, err = capsys.readouterr()
    assert out == ""
    assert "0:00:0" in err  # even where the summary fills the line
    assert "17 items" in err


def test_the_live_line_says_that_the_model_loads_while_it_does(
    source: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    job = PathJob(job="test", path=["read", "write"])
    job.source.path = [str(source)]
    seen: list[str] = []

    def load(*_: object) -> Stage:
        time.sleep(0.3)  # the line is drawn ten times a second
        seen.append(capsys.readouterr().err)
        raise SettingsError("no such device")

    monkeypatch.setattr("pipelines.in_process.build_stage", load)
    with pytest.raises(SettingsError):
        InProcess(ExecutorSettings()).run(job, LOAD, source, Summary(), lambda: None, Finished([]))
    assert "loading the model" in seen[0]


def test_a_run_begins_when_all_is_loaded_and_before_any_row(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Fake()
    stages = {"read": read, "write": FakeWrite()}
    built: list[str] = []

    def build(name: str, *_: object) -> Stage:
        built.append(name)
        return stages[name]

    monkeypatch.setattr("pipelines.in_process.build_stage", build)
    job = PathJob(job="test", path=list(stages))
    job.source.path = [str(source)]

    def begin() -> None:
        assert built == list(stages)
        assert read.batches == []
        built.append("begun")

    InProcess(ExecutorSettings()).run(job, LOAD, source, Summary(), begin, Finished([]))
    assert built[-1] == "begun"


@pytest.mark.parametrize("name", ["batch", "readers"])
def test_less_than_one_at_a_time_is_refused(name: str) -> None:
    given: dict[str, Any] = {name: 0}
    with pytest.raises(SettingsError, match=f"executor.{name}=0; at least 1. Raise it"):
        ExecutorSettings(**given)
