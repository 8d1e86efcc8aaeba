"""Runs that were ended, and the same command again."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma3n.errors import InputError, SettingsError
from gemma3n.generate import Prompt
from pipelines.cli import main
from pipelines.exit_code import DONE, FULL_STOP, INTERRUPTED, ROWS_FAILED, WRONG_USE
from pipelines.fingerprint import check_same, write_fingerprint
from stages.decode import Decode
from stages.read import Read
from stages.row import Row
from stages.write import Write

SAMPLES = Path(__file__).parents[1] / "samples/audio"

Run = Callable[..., int]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, clip in enumerate(sorted(SAMPLES.rglob("*.wav"))[:5]):
        shutil.copy(clip, folder / f"{number}.wav")
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def run(recordings: Path, out: Path, checkpoint_folder: Path) -> Run:
    """The command over the recordings, into `out`."""

    def command(*more: str) -> int:
        words = ["transcribe", str(recordings), "-o", str(out), f"model={checkpoint_folder}"]
        words += ["precision=float32", "device=cpu", "decode.max_new_tokens=4", "executor.batch=1"]
        return main([*words, "prompt=Transcribe: <audio>", "sink.formats=[jsonl]", *more])

    return command


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Items that were read, in any order."""
    seen: list[str] = []
    plain = Read.expand

    def expand(self: Read, row: Row) -> Any:
        seen.append(row["item"])
        return plain(self, row)

    monkeypatch.setattr(Read, "expand", expand)
    return seen


def stop_at(monkeypatch: pytest.MonkeyPatch, item: str, error: BaseException) -> None:
    """Let decoding raise at an item, until the patch is undone."""
    plain = Decode._prompt

    def prompt(self: Decode, row: Row) -> Prompt:
        if row["item"] == item:
            raise error
        return plain(self, row)

    monkeypatch.setattr(Decode, "_prompt", prompt)


def items(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


def without_numbers(found: list[dict[str, Any]]) -> list[Any]:
    """All but log-probabilities, whose last bits a batch may change."""
    for item in found:
        for segment in item["segments"]:
            del segment["logprob"]
    return found


def test_the_same_command_goes_on_where_a_run_was_ended(
    run: Run, out: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, "3.wav", KeyboardInterrupt())
        assert run() == INTERRUPTED
    assert [item["item"] for item in items(out)] == ["0.wav", "1.wav", "2.wav"]
    read.clear()
    assert run() == DONE
    assert sorted(read) == ["3.wav", "4.wav"]
    resumed = items(out)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["earlier"], summary["items"], summary["total"]) == (3, 2, 5)
    assert run("fresh=true") == DONE
    assert without_numbers(resumed) == without_numbers(items(out))


def test_where_nothing_is_left_no_model_is_loaded_and_formats_are_made_anew(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run()

    def load(*_: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("pipelines.in_process.shared_model", load)
    assert run("sink.formats=[txt]") == DONE
    assert not (out / "results.jsonl").exists()
    assert len(list((out / "txt").iterdir())) == 5


def test_a_file_that_changed_is_done_again_and_one_that_is_new_too(
    run: Run, out: Path, recordings: Path, read: list[str]
) -> None:
    run()
    before = {item["item"]: item["segments"] for item in items(out)}
    shutil.copy(recordings / "3.wav", recordings / "1.wav")
    shutil.copy(recordings / "3.wav", recordings / "00.wav")
    read.clear()
    assert run() == DONE
    assert sorted(read) == ["00.wav", "1.wav"]
    after = {item["item"]: item["segments"] for item in items(out)}
    # In the order of the source, though what came first was done last.
    assert list(after) == ["0.wav", "00.wav", "1.wav", "2.wav", "3.wav", "4.wav"]
    assert after["1.wav"][0]["text"] == before["3.wav"][0]["text"] == after["00.wav"][0]["text"]
    assert after["2.wav"] == before["2.wav"]


def test_rows_of_fewer_bits_are_other_results_and_another_place_is_none(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"ple.folder={tmp_path / 'kept'}"
    assert run() == DONE
    assert run("ple=resident", "ple.cache_rows=5") == DONE
    assert run("ple.bits=4", folder) == WRONG_USE
    assert "ple.bits was null and is 4" in capsys.readouterr().err
    assert run("ple.bits=4", folder, "fresh=true") == DONE
    assert len(list((tmp_path / "kept").glob("ple-*-int4.safetensors"))) == 1


def test_rows_that_failed_are_tried_again_unless_asked_otherwise(
    run: Run, out: Path, read: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, "1.wav", InputError("not today"))
        assert run() == ROWS_FAILED
    read.clear()
    assert run("retry_failed=false") == ROWS_FAILED
    assert read == []
    assert run() == DONE
    assert read == ["1.wav"]
    assert (out / "failures.jsonl").read_text() == ""
    assert [item["error"] for item in items(out)] == [None] * 5


def test_a_size_is_named_where_its_name_tells_it_from_the_other(tmp_path: Path) -> None:
    full = {"name": "full", "widths": [512]}
    write_fingerprint(tmp_path, {"nested": full})
    check_same(tmp_path, {"nested": full})
    with pytest.raises(SettingsError, match=r"something else: nested was full and is small\. "):
        check_same(tmp_path, {"nested": {"name": "small", "widths": [256]}})
    with pytest.raises(SettingsError, match=r'nested was \{"name": "full", .* is \{"name": "full"'):
        check_same(tmp_path, {"nested": full | {"widths": [256]}})


def test_a_job_with_other_results_is_refused_with_the_difference(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    before = items(out)
    capsys.readouterr()
    assert run("decode.max_new_tokens=5", "nested=small") == WRONG_USE
    err = capsys.readouterr().err
    assert "holds results of something else" in err
    assert "decode.max_new_tokens was 4 and is 5" in err
    assert items(out) == before
    # What changes no result may change.
    assert run("executor.batch=3", "executor.readers=1", "ple=resident") == DONE


def test_results_of_a_run_that_left_no_fingerprint_are_refused(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    (out / "fingerprint.json").unlink()
    assert run() == WRONG_USE
    assert "no readable fingerprint.json" in capsys.readouterr().err
    assert run("fresh=true") == DONE


_HOLD = """
import sys
from pathlib import Path

from pipelines.lock import locked

with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_in_use_is_refused(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    command, pipe = [sys.executable, "-c", _HOLD, str(out)], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert run() == WRONG_USE
        assert f"output '{out}' is in use by another run" in capsys.readouterr().err
        other.communicate()
    assert run() == DONE


def test_a_full_disk_stops_the_run_in_plain_words_and_it_goes_on_later(
    run: Run,
    out: Path,
    read: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, written = Write.__call__, [0]

    def call(self: Write, rows: list[Row]) -> list[Row]:
        written[0] += 1
        if written[0] == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return plain(self, rows)

    with monkeypatch.context() as patch:
        patch.setattr(Write, "__call__", call)
        assert run() == FULL_STOP
    err = capsys.readouterr().err
    assert "stopped: No space left on device" in err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    read.clear()
    assert run() == DONE
    assert len(read) == 3
    assert len(items(out)) == 5


def test_a_disk_that_is_full_before_parts_are_merged_stops_a_run_in_plain_words_too(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run()

    def full(folder: Path) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.run.compact", full)
        assert run() == FULL_STOP
    assert "stopped: No space left on device" in capsys.readouterr().err
    assert run() == DONE


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no full device")
def test_a_log_without_room_does_not_end_a_run(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    (out / "run.log").unlink()
    (out / "run.log").symlink_to("/dev/full")
    capsys.readouterr()
    assert run() == DONE
    assert "Traceback" not in capsys.readouterr().err


def test_a_run_that_is_refused_when_it_goes_on_keeps_what_there_was(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is finished here, and yet there is something to lose: as of a long recording."""
    with monkeypatch.context() as patch:
        patch.setattr(Decode, "_prompt", _raise(InputError("not today")))
        assert run() == ROWS_FAILED
    parts = sorted((out / "results").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Decode, "_prompt", _raise(SettingsError("no such tower")))
        patch.setattr("pipelines.run.compact", lambda folder: 0)
        assert run() == WRONG_USE
    assert sorted((out / "results").iterdir()) == parts


def _raise(error: BaseException) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise error

    return call


def test_who_began_anew_is_told_to_go_on_without_that(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as patch:
        stop_at(patch, "3.wav", KeyboardInterrupt())
        assert run("fresh=true") == INTERRUPTED
    assert "the same command without fresh=true goes on" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_disk_that_is_really_full(
    run: Run, tmp_path: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(out)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody mount")
    try:
        (out / "ballast").write_bytes(bytes(40 * 1024))
        assert run() == FULL_STOP
        err = capsys.readouterr().err
        assert "stopped: No space left on device" in err
        assert "Traceback" not in err
        (out / "ballast").unlink()
        subprocess.run([*mount[:4], "remount,size=8m", *mount[5:]], check=True)
        assert run() == DONE
        assert len(items(out)) == 5
    finally:
        subprocess.run(["umount", "-l", str(out)], check=True)


# One thread each, as in this process: two that share busy cores wait for each other.
_ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def _command(recordings: Path, out: Path, checkpoint: Path) -> list[str]:
    words = [sys.executable, "-m", "pipelines", "transcribe", str(recordings), "-o", str(out)]
    words += [f"model={checkpoint}", "precision=float32", "device=cpu", "decode.max_new_tokens=12"]
    return [*words, "prompt=Transcribe: <audio>", "sink.formats=[jsonl]", "executor.batch=2"]


def _committed(out: Path) -> int:
    return len(list((out / "results").glob("part-*")))


def _start(command: list[str]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command,
        stdout=pipe,
        stderr=pipe,
        text=True,
        env=_ENVIRONMENT,
        # What runs in the background of a script is started deaf to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_keeps_what_it_has_and_says_how_to_go_on(
    recordings: Path, out: Path, checkpoint_folder: Path, how: signal.Signals
) -> None:
    for number in range(5, 300):
        os.link(recordings / f"{number % 5}.wav", recordings / f"{number}.wav")
    process = _start(_command(recordings, out, checkpoint_folder))
    while process.poll() is None and _committed(out) < 2:
        time.sleep(0.02)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    assert process.returncode == INTERRUPTED
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert 4 <= len(items(out)) < 300


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(
    recordings: Path, out: Path, checkpoint_folder: Path, tmp_path: Path
) -> None:
    for number in range(5, 600):
        os.link(recordings / f"{number % 5}.wav", recordings / f"{number}.wav")
    (recordings / "broken.wav").write_text("no sound")
    command = _command(recordings, out, checkpoint_folder)
    chance = random.Random(0)
    for kill in range(20):
        process = _start(command)
        # At any moment: while it starts, loads, decodes or writes a part; 300 parts are the whole.
        more, before = (0, 1, 2, 3)[kill % 4], _committed(out)
        if more:
            while process.poll() is None and _committed(out) < before + more:
                time.sleep(0.01)
        time.sleep(chance.uniform(0.0, 0.1 if more else 1.5))
        assert process.poll() is None, process.communicate()
        process.kill()
        process.communicate()
    assert subprocess.run(command, check=False, env=_ENVIRONMENT).returncode == ROWS_FAILED
    whole = _command(recordings, tmp_path / "whole", checkpoint_folder)
    assert subprocess.run(whole, check=False, env=_ENVIRONMENT).returncode == ROWS_FAILED
    resumed, uninterrupted = items(out), items(tmp_path / "whole")
    assert [item["item"] for item in resumed] == [item["item"] for item in uninterrupted]
    assert len(resumed) == 601
    for one, other in zip(resumed, uninterrupted, strict=True):
        for mine, right in zip(one["segments"], other["segments"], strict=True):
            assert mine.pop("logprob") == pytest.approx(right.pop("logprob"), abs=1e-4)
    assert resumed == uninterrupted
    assert (out / "failures.jsonl").read_text() == (tmp_path / "whole/failures.jsonl").read_text()


def test_nothing_leaves_the_machine(recordings: Path, out: Path, checkpoint_folder: Path) -> None:
    """A whole job in a network namespace that is empty, without even a loopback."""
    apart = ["unshare", "--net", "--map-root-user"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("this machine gives nobody a network namespace")
    command = [*apart, *_command(recordings, out, checkpoint_folder)]
    assert subprocess.run(command, check=False, env=_ENVIRONMENT).returncode == DONE
    assert len(items(out)) == 5
