"""Whole jobs, from files to results. The tiny checkpoint says noise, but always the same."""

import json
import logging
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file

from gemma3n.choices import Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.generate import Prompt
from pipelines.exit_code import DONE, INTERRUPTED, ROWS_FAILED
from pipelines.run import check_job, model_load, run_job
from pipelines.settings import (
    ExecutorKind,
    ModelSettings,
    NestedSettings,
    PathJob,
    PlePlacement,
    PleSettings,
    PolicyKind,
    PolicySettings,
)
from stages.media import Media
from stages.model import shared_model
from stages.resize import Resolution
from stages.row import Row
from stages.source import SourceSettings
from stages.write import Format

TESTS = Path(__file__).parents[1]
SAMPLES = TESTS / "samples"
CLIPS = ("cmu-cards/001.wav", "en_allison/digits-7.wav", "es/dir-nomatch.wav")
PICTURES = ("noto-cow.png", "digit-1300.png")


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Three clips, one of them in a folder of its own, one broken file and one text."""
    folder = tmp_path / "recordings"
    for clip in CLIPS:
        (folder / clip).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(SAMPLES / "audio" / clip, folder / clip)
    (folder / "broken.wav").write_bytes(b"RIFF, and then nothing")
    (folder / "notes.txt").write_text("not for us")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for picture in PICTURES:
        shutil.copy(SAMPLES / "images" / picture, folder / picture)
    (folder / "text.png").write_text("a text in a picture's clothes")
    return folder


def path_job(name: str, output: Path | None, *paths: Path, **more: Any) -> PathJob:
    job = PathJob(
        job=name,
        path=more.pop("path", "read mel resize encode fuse decode write").split(),
        output=None if output is None else str(output),
        precision=Precision.float32,
        device=Device.cpu,
        source=SourceSettings(path=[str(path) for path in paths]),
    )
    job.model.path = str(TESTS / "golden/checkpoint")
    job.resize.resolution = Resolution["256"]
    job.decode.max_new_tokens = 8
    job.fuse.prompt = "What is this?"
    job.executor.batch = more.pop("batch", 4)
    job.sink.formats = list(Format)
    return replace(job, **more)


def transcribe(output: Path | None, *paths: Path, **more: Any) -> PathJob:
    job = path_job("transcribe", output, *paths, path="read mel encode fuse decode write", **more)
    job.source.media = [Media.audio]
    job.fuse.prompt = "Transcribe: <audio>"
    return job


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def results(folder: Path) -> dict[str, dict[str, Any]]:
    return {item["item"]: item for item in lines(folder / "results.jsonl")}


def assert_same(one: dict[str, dict[str, Any]], other: dict[str, dict[str, Any]]) -> None:
    """Equal but for the last bits of log-probabilities."""

    def split(items: dict[str, dict[str, Any]]) -> tuple[str, list[float]]:
        text = json.dumps(items)
        number = r'"logprob": (-?[0-9.e-]+)'
        return re.sub(number, "", text), [float(n) for n in re.findall(number, text)]

    assert split(one)[0] == split(other)[0]
    assert split(one)[1] == pytest.approx(split(other)[1], abs=1e-4)


def test_recordings_become_transcripts_and_the_broken_one_an_error(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run_job(transcribe(out, recordings)) == ROWS_FAILED
    assert capsys.readouterr().out == f"{out}\n"

    items = results(out)
    assert list(items) == ["broken.wav", *CLIPS]
    for clip in CLIPS:
        (segment,) = items[clip]["segments"]
        assert items[clip]["error"] is None
        assert items[clip]["text"]
        assert items[clip]["size"] == "full"
        assert segment["start_s"] == 0
        assert 0.5 < segment["end_s"] < 5
        assert segment["logprob"] < 0
        text = (out / "txt" / clip).with_suffix(".txt").read_text(encoding="utf-8")
        assert text == items[clip]["text"] + "\n"
    assert not (out / "txt/broken.txt").exists()

    (failure,) = lines(out / "failures.jsonl")
    assert (failure["item"], failure["segment"], failure["stage"]) == ("broken.wav", 0, "read")
    assert "cannot be read as audio" in failure["message"]
    assert items["broken.wav"]["error"] == {"stage": "read", "message": failure["message"]}

    table = pq.ParquetFile(out / "results.parquet").read().to_pylist()
    assert {row["item"]: row["text"] for row in table} == {
        name: item["text"] for name, item in items.items()
    }
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["items"], summary["rows"], summary["failed"]) == (4, 4, 1)
    assert summary["skipped"] == {".txt": 1}
    assert 5 < summary["audio_seconds"] < 7
    assert set(summary["stage_seconds"]) == {"load", *transcribe(out).path}
    ple = summary["ple"]
    assert ple["rows"] > ple["moved"] > 0  # two clips of a batch ask for the same prompt
    assert "hit_rate" not in ple, "no cache is in front of a file on a CPU"
    assert min(ple["bytes"], ple["wait_seconds"]) > 0
    log = (out / "run.log").read_text()
    assert "'broken.wav' failed in read" in log
    assert "INFO pipelines.run: 4 items in " in log


def test_pictures_become_captions_and_a_text_in_their_clothes_an_error(
    pictures: Path, tmp_path: Path
) -> None:
    job = path_job(
        "caption", tmp_path / "out", pictures, path="read resize encode fuse decode write"
    )
    job.source.media = [Media.image]
    job.fuse.prompt = "Describe: <image>"
    assert run_job(job) == ROWS_FAILED
    items = results(tmp_path / "out")
    assert [name for name in items if items[name]["text"]] == sorted(PICTURES)
    assert "no known format" in items["text.png"]["error"]["message"]
    assert items[PICTURES[0]]["segments"][0]["start_s"] is None
    assert json.loads((tmp_path / "out/summary.json").read_text())["images"] == 3


@pytest.fixture
def questions(recordings: Path, pictures: Path, tmp_path: Path) -> Path:
    clip, picture = f"recordings/{CLIPS[0]}", f"pictures/{PICTURES[0]}"
    rows: list[dict[str, Any] | str] = [
        {"id": "text", "prompt": "Say <audio> hello."},
        {"id": "clip", "audio": clip, "reference": "ten of clubs"},
        {"id": "picture", "image": picture, "prompt": "What is it?", "mood": "curious"},
        {"id": "all", "audio": [clip, clip], "images": [picture], "prompt": "What is said?"},
        {"id": "gone", "audio": "recordings/gone.wav"},
        {"id": "broken", "audio": "recordings/broken.wav", "image": picture},
        "{not a row",
        {"image": picture},
    ]
    file = tmp_path / "questions.jsonl"
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows))
    return file


def test_a_manifest_may_mix_text_sound_and_pictures(questions: Path, tmp_path: Path) -> None:
    assert run_job(path_job("generate", tmp_path / "out", questions)) == ROWS_FAILED
    items = results(tmp_path / "out")
    picture = f"pictures/{PICTURES[0]}"
    assert list(items) == ["text", "clip", "picture", "all", "gone", "broken", "7", picture]
    failed = {name: item["error"]["stage"] for name, item in items.items() if item["error"]}
    assert failed == {"gone": "read", "broken": "read", "7": "read"}
    assert all(items[name]["text"] for name in ("text", "clip", "picture", "all", picture))
    assert items["clip"]["reference"] == "ten of clubs"
    said = {"image": picture, "prompt": "What is it?", "mood": "curious"}
    assert items["picture"]["extra"] == said
    assert len(lines(tmp_path / "out/failures.jsonl")) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_results_do_not_depend_on_the_batch_size(
    questions: Path, tmp_path: Path, temperature: float
) -> None:
    for batch in (1, 4):
        job = path_job("generate", tmp_path / f"out{batch}", questions, batch=batch)
        job.decode.temperature = temperature
        run_job(job)
    assert_same(results(tmp_path / "out1"), results(tmp_path / "out4"))


def test_another_seed_gives_other_samples(recordings: Path, tmp_path: Path) -> None:
    texts = []
    for seed in (0, 0, 1):
        job = transcribe(tmp_path / "out", recordings / CLIPS[0], fresh=True)
        job.decode.temperature, job.decode.seed = 1.0, seed
        assert run_job(job) == DONE
        texts.append(results(tmp_path / "out")["001.wav"]["text"])
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_that_does_not_fit_is_an_error_row(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    rows = [{"id": "long", "prompt": "x" * 40_000}, {"id": "short", "prompt": "x"}]
    file.write_text("\n".join(map(json.dumps, rows)))
    job = path_job("generate", tmp_path / "out", file, path="read fuse decode write")
    job.source.media = []
    assert run_job(job) == ROWS_FAILED
    items = results(tmp_path / "out")
    assert items["short"]["text"]
    assert items["long"]["error"]["stage"] == "fuse"


def test_a_nested_size_given_by_layers_and_widths_runs(recordings: Path, tmp_path: Path) -> None:
    job = transcribe(tmp_path / "out", recordings / CLIPS[0])
    job.nested.layers, job.nested.widths = [i for i in range(15) if i not in range(5, 10)], [128]
    assert run_job(job) == DONE
    assert results(tmp_path / "out")["001.wav"]["size"] == "skip=5,6,7,8,9 widths=128"


def test_the_saved_settings_repeat_the_run(recordings: Path, tmp_path: Path) -> None:
    job = transcribe(tmp_path / "out", recordings / CLIPS[0])
    run_job(job)
    saved = OmegaConf.load(tmp_path / "out/config.yaml")
    assert OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(PathJob), saved)) == job


@pytest.mark.parametrize(
    ("media", "path", "parts"),
    [
        ([Media.audio], "read mel encode fuse decode write", ("text", "audio")),
        ([Media.image], "read resize encode fuse decode write", ("text", "vision")),
        ([], "read fuse decode write", ("text",)),
        ([Media.audio], "read mel encode write", ("audio",)),
    ],
)
def test_no_more_of_the_model_is_loaded_than_the_job_needs(
    media: list[Media], path: str, parts: tuple[str, ...]
) -> None:
    job = path_job("test", None, path=path)
    job.source.media = media
    assert model_load(job).parts == parts


# Where results go


def test_without_an_output_the_same_work_finds_its_folder_and_other_work_another(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    job = transcribe(None, recordings)
    elsewhere = transcribe(None, shutil.copytree(recordings, tmp_path / "else/recordings"))
    batched = transcribe(None, recordings, batch=1)
    for one in (job, job, batched, replace(job, fuse=replace(job.fuse, prompt="Spell: <audio>"))):
        run_job(one)
    run_job(elsewhere)
    first, again, other_batch, other_prompt, other_place = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"outputs/transcribe/recordings-[0-9a-f]{8}", first)
    assert first == again == other_batch
    assert len({first, other_prompt, other_place}) == 3


def test_fresh_empties_a_folder_of_what_runs_wrote(recordings: Path, tmp_path: Path) -> None:
    job = transcribe(tmp_path / "out", recordings)
    run_job(job)
    mine = tmp_path / "out/txt/mine.txt"
    mine.write_text("a note of the user's")
    (recordings / CLIPS[0]).unlink()
    run_job(replace(job, fresh=True))
    assert list(results(tmp_path / "out")) == ["broken.wav", *CLIPS[1:]]
    assert not (tmp_path / "out/txt" / CLIPS[0]).with_suffix(".txt").exists()
    assert mine.read_text() == "a note of the user's"


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("name", ["config.yaml", "txt/notes.txt", "results/a.csv", "results.jsonl"])
def test_files_that_no_run_wrote_are_never_touched(
    recordings: Path, tmp_path: Path, name: str, fresh: bool
) -> None:
    file = tmp_path / "project" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")
    with pytest.raises(SettingsError, match=r"which no run of gemma3n wrote.*Choose another"):
        run_job(transcribe(tmp_path / "project", recordings, fresh=fresh))
    assert file.read_text() == "mine"


def test_a_folder_with_other_files_is_shared(recordings: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/readme.md").write_text("mine")
    run_job(transcribe(tmp_path / "out", recordings / CLIPS[0]))
    assert (tmp_path / "out/readme.md").read_text() == "mine"


def test_an_output_that_is_a_file_is_refused(recordings: Path) -> None:
    with pytest.raises(SettingsError, match=r"notes.txt' is a file; a run needs a folder"):
        run_job(transcribe(recordings / "notes.txt", recordings))


# What stops a run


def wrong(job: PathJob, change: str) -> PathJob:
    match change:
        case "no checkpoint":
            job.model.path = "nowhere"
        case "no such size":
            job.nested.name = "smal"
        case "no such stage":
            job.path[1] = "mell"
        case "no such source":
            job.source.path = ["nowhere"]
        case "nothing to do":
            job.source.path = [str(TESTS / "stages")]
        case "no such device":
            job.device = Device.cuda
    return job


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("no checkpoint", "model folder 'nowhere' does not exist"),
        ("no such size", "nested='smal'"),
        ("no such stage", "Did you mean 'mel'"),
        ("no such source", "source 'nowhere' does not exist"),
        ("nothing to do", "nothing to do in"),
        ("no such device", "device='cuda'"),
    ],
)
def test_a_job_that_cannot_be_run_is_refused_and_leaves_nothing_behind(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    message: str,
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SettingsError, match=message):
        run_job(wrong(transcribe(tmp_path / "out", recordings), change))
    assert not (tmp_path / "out").exists()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def broken(checkpoint: Path, copy: Path, name: str) -> str:
    """A copy of the checkpoint that lacks, or holds the wrong, what `name` says."""
    shutil.copytree(checkpoint, copy)
    if name == "tokenizer":
        (copy / "tokenizer.model").write_bytes(b"no vocabulary")
    else:
        arrays = load_file(copy / "model.safetensors")
        lost = next(key for key in arrays if name in key)
        save_file({k: v for k, v in arrays.items() if k != lost}, copy / "model.safetensors")
    return str(copy)


@pytest.mark.parametrize("why", ["device", "budget", "tokenizer", "audio_tower", "language_model"])
def test_a_run_that_cannot_be_loaded_leaves_every_folder_as_it_was(
    recordings: Path,
    tmp_path: Path,
    checkpoint_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    why: str,
) -> None:
    run_job(transcribe(tmp_path / "old", recordings / CLIPS[0]))
    before = tree(tmp_path / "old")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job = transcribe(None, recordings, fresh=True)
    match why:
        case "device":
            job.device = Device.cuda
        case "budget":
            job.nested.budget_gb = 1e-6
        case _:
            job.model.path = broken(checkpoint_folder, tmp_path / "broken", why)
    for output in ("old", "new"):
        with pytest.raises(SettingsError):
            run_job(replace(job, output=str(tmp_path / output)))
    assert tree(tmp_path / "old") == before
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("output", ["", "/proc/x", "a.wav/x", "x" * 300])
def test_an_output_that_cannot_be_written_is_refused_before_the_load(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.wav").touch()
    shared_model.cache_clear()
    job = replace(transcribe(None, recordings), output=output)
    with pytest.raises(SettingsError, match=r"output is empty|output '.*' cannot be written: "):
        run_job(job)
    assert shared_model.cache_info().misses == 0


def test_that_a_size_is_the_full_model_is_said_on_stderr_and_in_the_log(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for is_terminal in (False, True):
        monkeypatch.setattr("sys.stderr.isatty", lambda there=is_terminal: there)
        job = transcribe(tmp_path / f"out{is_terminal}", recordings / CLIPS[0])
        job.nested.name = "small"
        run_job(job)
        note = "this checkpoint names no nested sizes, so nested=small is the full model"
        assert note in capsys.readouterr().err
        assert note in (tmp_path / f"out{is_terminal}/run.log").read_text()


def test_a_budget_chooses_the_size(recordings: Path, tmp_path: Path) -> None:
    job = transcribe(tmp_path / "out", recordings / CLIPS[0])
    job.nested.budget_gb = 1
    assert run_job(job) == DONE
    assert "1.00 GB: nested=full is the largest that fits" in (tmp_path / "out/run.log").read_text()


def test_an_interrupt_during_the_load_leaves_nothing(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.in_process.build_stage", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_job(transcribe(tmp_path / "out", recordings))
    assert not (tmp_path / "out").exists()


def test_the_saved_settings_mean_the_same_in_another_folder(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("model").symlink_to(TESTS / "golden/checkpoint")
    job = transcribe(Path("out"), Path("recordings", CLIPS[0]))
    job.model.path = "model"
    run_job(job)
    saved = OmegaConf.load(tmp_path / "out/config.yaml")
    assert saved.source.path == [str(recordings / CLIPS[0])]
    assert (saved.model.path, saved.output) == (str(tmp_path / "model"), str(tmp_path / "out"))


@pytest.fixture
def third_fails(monkeypatch: pytest.MonkeyPatch) -> list[type[BaseException]]:
    """Decoding raises what is in the list when it comes to the third row."""
    from stages.decode import Decode

    plain, seen, to_raise = Decode._prompt, [0], list[type[BaseException]]()

    def prompt(self: Decode, row: Row) -> Prompt:
        seen[0] += 1
        if seen[0] == 3:
            raise to_raise[0]
        return plain(self, row)

    monkeypatch.setattr(Decode, "_prompt", prompt)
    return to_raise


def test_an_interrupted_run_assembles_what_was_done(
    recordings: Path,
    tmp_path: Path,
    third_fails: list[type[BaseException]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    third_fails.append(KeyboardInterrupt)
    assert run_job(transcribe(tmp_path / "out", recordings, batch=1)) == INTERRUPTED
    assert list(results(tmp_path / "out")) == ["broken.wav", *CLIPS[:2]]
    assert json.loads((tmp_path / "out/summary.json").read_text())["items"] == 3
    assert "interrupted; the 3 items that were done are kept, and the same command goes on" in (
        capsys.readouterr().err
    )


def test_a_bug_is_raised_and_logged_and_what_was_done_is_kept(
    recordings: Path, tmp_path: Path, third_fails: list[type[BaseException]]
) -> None:
    third_fails.append(ZeroDivisionError)
    with pytest.raises(ZeroDivisionError):
        run_job(transcribe(tmp_path / "out", recordings, batch=1))
    assert len(list((tmp_path / "out/results").glob("part-*.parquet"))) == 3
    log = (tmp_path / "out/run.log").read_text()
    assert "stopped by a bug" in log
    assert "ZeroDivisionError" in log


def test_logging_is_left_as_it_was(recordings: Path, tmp_path: Path) -> None:
    root, ours = logging.getLogger(), logging.getLogger("pipelines")
    before = (list(root.handlers), ours.level)
    run_job(transcribe(tmp_path / "out", recordings / CLIPS[0]), command="gemma3n transcribe x")
    assert (root.handlers, ours.level) == before
    assert "INFO pipelines.run: gemma3n transcribe x" in (tmp_path / "out/run.log").read_text()


def test_a_terminal_gets_warnings_and_the_live_line_only(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    run_job(transcribe(tmp_path / "out", recordings))
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'out'}\n"
    shown = " ".join(err.split())  # a terminal breaks lines
    assert "'broken.wav' failed in read" in shown
    assert "1 rows failed; " in shown
    assert " INFO " not in shown


def test_one_process_holds_one_model(recordings: Path, tmp_path: Path) -> None:
    shared_model.cache_clear()
    run_job(transcribe(tmp_path / "out", recordings / CLIPS[0]))
    assert shared_model.cache_info().misses == 1


def test_a_run_in_process_needs_no_ray(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # importing it raises
    assert run_job(transcribe(tmp_path / "out", recordings / CLIPS[0])) == DONE


def test_what_is_only_for_ray_is_refused_elsewhere_before_any_work() -> None:
    job = PathJob(job="test", path=["read", "fuse", "decode", "write"])
    job.source.path, job.fuse.prompt = [str(SAMPLES)], "Spell cat."
    job.ple.placement, job.source.media = PlePlacement.store, []
    with pytest.raises(
        SettingsError, match=r"ple=store is a table in Ray actors.*Set executor=ray"
    ):
        check_job(job)
    job.executor.kind = ExecutorKind.ray
    job.executor.pools.read.stages = ["read", "decode"]
    job.executor.pools.decode.stages = ["fuse"]
    with pytest.raises(SettingsError, match=r"pools.read has stages that are no neighbours"):
        check_job(job)
    with pytest.raises(SettingsError, match=r"ple.shards=0; at least 1"):
        PleSettings(shards=0)


def test_items_that_an_executor_lost_are_told_and_are_no_success(
    recordings: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Loses:
        def run(self, job: PathJob, load: Any, folder: Path, summary: Any, *then: Any) -> None:
            then[0]()
            summary.lost = 2

    monkeypatch.setattr("pipelines.run.executor_of", lambda settings: Loses())
    assert run_job(transcribe(tmp_path / "out", recordings)) == ROWS_FAILED
    assert "2 items are not done: new since the run began, or lost; the same command" in caplog.text


def test_a_policy_says_which_size_answered_and_why(recordings: Path, tmp_path: Path) -> None:
    (recordings / "broken.wav").unlink()
    alone = replace(transcribe(tmp_path / "full", recordings), model=ModelSettings("nano"))
    run_job(alone)
    narrow = NestedSettings("small")
    run_job(replace(alone, nested=narrow, output=str(tmp_path / "small")))
    full, small = results(tmp_path / "full"), results(tmp_path / "small")
    sure = {item: row["segments"][0]["logprob"] for item, row in small.items()}
    least, next_least, _ = sorted(sure, key=lambda item: sure[item])
    policy = PolicySettings(PolicyKind.auto, threshold=(sure[least] + sure[next_least]) / 2)
    run_job(replace(alone, policy=policy, output=str(tmp_path / "auto")))
    found = results(tmp_path / "auto")
    for item in CLIPS:
        right = full if item == least else small
        assert (found[item]["size"], found[item]["text"]) == (
            right[item]["size"],
            right[item]["text"],
        )
    assert f"small had log-probability {sure[least]:.2f}" in found[least]["note"]
    summary = json.loads((tmp_path / "auto/summary.json").read_text())
    assert summary["sizes"] == {"small": 2, "full": 1}


def test_a_policy_whose_small_size_is_not_inside_is_refused(
    recordings: Path, tmp_path: Path
) -> None:
    policy = PolicySettings(PolicyKind.speculative, small="full")
    job = replace(
        transcribe(tmp_path / "out", recordings),
        model=ModelSettings("nano"),
        nested=NestedSettings("small"),
        policy=policy,
    )
    with pytest.raises(SettingsError, match=r"policy.small=full is not inside nested=small"):
        run_job(job)


def test_a_row_may_ask_for_a_nested_size(tmp_path: Path) -> None:
    clip = SAMPLES / "audio" / CLIPS[1]
    rows = [{"id": size, "audio": str(clip), "nested": size} for size in ("small", "mix2", "e9b")]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = replace(transcribe(tmp_path / "out", manifest), model=ModelSettings("nano"))
    assert run_job(job) == ROWS_FAILED
    found = results(tmp_path / "out")
    assert {item: row["size"] for item, row in found.items()} == {
        "small": "small",
        "mix2": "mix2",
        "e9b": None,
    }
    assert "'e9b'" in found["e9b"]["error"]["message"]
