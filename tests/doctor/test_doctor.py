"""doctor: what it finds, what it says to do, and its exit code."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

from gemma3n.checkpoint import Checkpoint, is_unused_kv
from gemma3n.choices import Precision
from gemma3n.memory import BYTES_PER_WEIGHT, plan_memory
from gemma3n.routes import native
from pipelines.cli import main
from pipelines.doctor import codecs, disk, machine, packages, self_test
from pipelines.doctor.doctor import doctor
from pipelines.doctor.finding import Finding, State, broken, note, ok
from pipelines.doctor.fits import fits, released
from pipelines.plan_fit import SPARE
from pipelines.random_checkpoint import SIZES
from pipelines.settings import DoctorJob

ROOT = Path(__file__).parents[2]
LOOKS = ("machine.look_at_machine", "packages.look_at_packages", "codecs.look_at_codecs")

Finds = Callable[..., None]


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Finds:
    """Puts findings in place of all that is looked at."""

    def install(*findings: Finding) -> None:
        for name in LOOKS:
            monkeypatch.setattr(f"pipelines.doctor.{name}", list)
        monkeypatch.setattr("pipelines.doctor.disk.look_at_disks", lambda *_: list(findings))
        monkeypatch.setattr("pipelines.doctor.fits.fits", lambda _: [])

    return install


def test_all_is_well_with_a_machine_on_which_the_tests_pass(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert doctor(DoctorJob(self_test=False, json=True)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is True
    by_what = {one["what"]: one for one in found["findings"]}
    assert {"cores", "memory", "instruction sets", "torch", "auto", "GPU", "Ray"} <= {*by_what}
    assert {"sound", "films", "pictures", "room", "reading"} <= {*by_what}
    assert all(one["state"] != "broken" for one in found["findings"])
    assert {(one["model"], one["size"]) for one in found["fits"]} >= {
        ("e2b", "full"),
        ("e4b", "full"),
        ("e4b", "small"),
        ("nano", "small"),
    }


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        ([ok("a", "cores", "2")], 0),
        ([note("a", "films", "no", "pip install x")], 0),
        ([note("a", "b", "c"), broken("a", "sound", "no \x1b[1mWAV", "install it")], 1),
    ],
)
def test_the_exit_code_is_1_where_something_is_broken_that_jobs_need(
    finds: Finds, capsys: pytest.CaptureFixture[str], findings: list[Finding], code: int
) -> None:
    finds(*findings)
    assert doctor(DoctorJob(self_test=False)) == code
    out = capsys.readouterr().out
    assert ("broken: sound: no \\x1b[1mWAV. install it\n" in out) == (code == 1)
    assert "\x1b" not in out
    for one in findings:
        assert one.fix in out
    assert doctor(DoctorJob(self_test=False, json=True)) == code
    assert json.loads(capsys.readouterr().out)["ok"] == (code == 0)


def test_what_cannot_be_looked_at_is_a_finding_and_ends_nothing(
    finds: Finds, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    finds(ok("disk", "room", "enough"))

    def fail() -> list[Finding]:
        raise OSError("no\nway")

    monkeypatch.setattr("pipelines.doctor.codecs.look_at_codecs", fail)
    assert doctor(DoctorJob(self_test=False, json=True)) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [one["what"] for one in found] == ["codecs", "room"]
    assert found[0]["found"] == "could not be looked at: OSError: no way"


@pytest.mark.slow  # a process of its own that imports all but torch
def test_a_machine_without_torch_is_told_so_and_of_the_rest(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libc10.so: cannot open')\n")
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}];"
        "from pipelines.cli import main; sys.exit(main(['doctor', 'json=true']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    found = {one["what"]: one for one in json.loads(done.stdout)["findings"]}
    assert found["torch"]["state"] == "broken"
    assert "libc10.so: cannot open" in found["torch"]["found"]
    assert found["sound"]["state"] == "ok"


def test_a_processor_for_which_only_a_compiler_is_wanting_is_told_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(native, "suits", lambda kind: kind is Precision.int4)
    monkeypatch.setenv("GEMMA3N_NATIVE", "0")  # as if there were no compiler
    (found,) = [one for one in machine.look_at_machine() if one.what == "products"]
    assert found.state is State.note
    assert "for int4 want a C++ compiler" in found.found
    monkeypatch.setattr(native, "suits", lambda kind: False)
    (found,) = [one for one in machine.look_at_machine() if one.what == "products"]
    assert found.state is State.ok
    assert found.found.startswith("torch's")


# The self-test


def test_the_self_test_is_right_on_this_machine() -> None:
    findings = self_test.self_test()
    assert [one.state for one in findings] == [State.ok, State.ok], findings
    assert "'seven'" in findings[0].found
    assert "'the handwritten digit three'" in findings[1].found


@pytest.mark.parametrize(
    ("said", "why"),
    [("eight", "said 'eight', and 'seven' is right"), (RuntimeError("a\nb"), "RuntimeError: a b")],
)
def test_the_self_test_tells_of_wrong_words_and_of_failures(
    monkeypatch: pytest.MonkeyPatch, said: Any, why: str
) -> None:
    def answer(job: str, file: Path) -> str:
        if isinstance(said, Exception):
            raise said
        return str(said)

    monkeypatch.setattr(self_test, "said", answer)
    finding = self_test.self_test()[0]
    assert (finding.state, finding.found) == (State.broken, why)
    assert finding.fix


def test_the_self_test_hears_what_it_is_given(tmp_path: Path) -> None:
    other = ROOT / "tests/samples/images/digit-1308.png"
    assert self_test.said("caption", other) == "the handwritten digit one"
    (tmp_path / "no.png").write_bytes(b"no picture")
    with pytest.raises(RuntimeError, match="exit code 3"):
        self_test.said("caption", tmp_path / "no.png")


# What fits


def test_what_is_planned_of_shapes_is_what_is_planned_of_files(checkpoint_folder: Path) -> None:
    opened = Checkpoint(checkpoint_folder)
    shapes = {entry.released: entry.shape for entry in opened.entries.values()}
    stated = Checkpoint.of_shapes(opened.config, shapes)
    for precision in BYTES_PER_WEIGHT:
        of_shapes = plan_memory(stated, "small", precision=precision, context=64)
        of_files = plan_memory(checkpoint_folder, "small", precision=precision, context=64)
        assert of_shapes.tier("device") == of_files.tier("device")
        assert of_shapes.parameters == of_files.parameters


@pytest.mark.parametrize(("name", "published"), [("e2b", 5_439_438_272), ("e4b", 7_849_978_192)])
def test_released_models_have_as_many_weights_as_published(name: str, published: int) -> None:
    checkpoint = released(SIZES[name])
    unused = sum(
        entry.elements
        for key, entry in checkpoint.entries.items()
        if is_unused_kv(key, checkpoint.config.text)
    )
    assert plan_memory(checkpoint, "full").parameters + unused == published


def test_more_memory_fits_more_and_a_smaller_size_needs_less() -> None:
    all_of_them = fits(10**12)
    assert all(one.fits for one in all_of_them)
    assert not any(one.fits for one in fits(SPARE))
    need = {(one.model, one.size, one.precision): one.bytes for one in all_of_them}
    for precision in BYTES_PER_WEIGHT:
        assert need["e4b", "small", precision] < need["e4b", "full", precision]
    assert need["e4b", "full", "bfloat16"] < need["e4b", "full", "float32"]
    some = need["e4b", "small", "bfloat16"]
    fitting = [one for one in fits(some) if one.fits and one.precision == "bfloat16"]
    assert {one.size for one in fitting if one.model == "e4b"} == {"small"}


# Disk


def test_a_file_is_read_whole_and_its_speed_is_told(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * 3_000_000)
    speed = disk.read_speed([file])
    assert speed.bytes == 3_000_000
    assert speed.per_second > 0
    assert speed.cached is None or 0 <= speed.cached <= 1


def test_what_is_in_memory_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"x" * 300)
    monkeypatch.setattr(disk, "_ENOUGH", 200)
    for cached, words in ((1.0, "100 % was in memory still"), (None, "is not told here")):
        monkeypatch.setattr(disk, "_let_go", lambda *_, share=cached: share)
        reading = disk.look_at_disks(tmp_path, tmp_path)[1]
        assert words in reading.found
    (tmp_path / "model.safetensors").write_bytes(b"x" * 10)
    assert "says little of the disk" in disk.look_at_disks(tmp_path, tmp_path)[1].found


def test_little_room_is_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from shutil import _ntuple_diskusage as usage

    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10**12, 0, 10**9))
    room, reading = disk.look_at_disks(tmp_path, tmp_path / "not/there")
    assert (room.state, room.found) == (State.note, f"1.00 GB free in '{tmp_path}'")
    assert (reading.state, reading.found) == (State.note, f"no weights in '{tmp_path}' yet")


# Codecs, packages, the processor


def test_a_codec_that_does_not_give_back_what_it_got_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import soundfile

    plain = soundfile.write

    def write(file: io.BytesIO, tone: Any, rate: int, *, format: str, subtype: str) -> None:
        if format == "MP3":
            raise soundfile.LibsndfileError(1)
        plain(file, tone[:100] if format == "FLAC" else tone, rate, format=format, subtype=subtype)

    assert all(codecs.readable_sound().values())
    monkeypatch.setattr(soundfile, "write", write)
    assert [name for name, can in codecs.readable_sound().items() if not can] == ["FLAC", "MP3"]
    (sound, *_) = codecs.look_at_codecs()
    assert sound.state is State.broken
    assert "not FLAC, MP3" in sound.found


def test_what_is_missing_is_told_with_the_command_that_brings_it() -> None:
    needs = [
        Requirement("numpy>=2"),
        Requirement("rich>=99"),
        Requirement("nowhere-to-be-found>=1.5"),
        Requirement('only-elsewhere; sys_platform == "nowhere"'),
        Requirement('numpy>=2; extra == "good"'),
        Requirement('also-missing; extra == "bad"'),
        Requirement('also-missing; extra == "dev"'),
    ]
    core = packages.core(needs)
    assert core.state is State.broken
    assert core.fix == "pip install 'rich>=99' 'nowhere-to-be-found>=1.5'"
    assert packages.core(needs[:1]).state is State.ok
    good, bad = packages.extras(needs)
    assert (good.what, good.state) == ("[good]", State.ok)
    assert (bad.what, bad.state) == ("[bad]", State.note)
    assert bad.found == "not here, or too old: also-missing"
    assert bad.fix == "pip install 'gemma3n-pipelines[bad]'"


@pytest.mark.parametrize(
    ("text", "sets"),
    [
        ("flags\t\t: fpu avx2 avx512f amx_bf16\n", ["AVX2", "AVX512", "AMX-BF16"]),
        ("Features\t: fp asimd asimddp\n", ["NEON", "NEON dot product"]),
        ("model name : avx2\nflags : fpu\n", []),
    ],
)
def test_instruction_sets_are_read_off_the_processor(
    tmp_path: Path, text: str, sets: list[str]
) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text(text)
    assert machine.instruction_sets(tmp_path) == sets


def test_a_checkpoint_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "model=no/such/folder", "self_test=false"]) == 2
    assert "model folder 'no/such/folder' does not exist" in capsys.readouterr().err
