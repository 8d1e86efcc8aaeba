"""Jobs whose model is on the hub: when it comes, and what of it a run remembers."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli import main
from pipelines.exit_code import DONE, INTERRUPTED, WRONG_USE
from stages.model import shared_model

NAME = "google/tiny"
COMMIT, LATER = "1" * 40, "2" * 40
SAMPLES = Path(__file__).parents[1] / "samples"
CLIP = str(SAMPLES / "audio/cmu-cards/001.wav")
MODEL = [f"model={NAME}", "precision=float32"]
SHORT = [*MODEL, "device=cpu", "decode.max_new_tokens=4"]
Hub = Any  # the stand-in of conftest.py


@pytest.fixture(autouse=True)
def _no_model_of_before() -> None:
    shared_model.cache_clear()


def text(folder: Path) -> str:
    return str(json.loads((folder / "results.jsonl").read_text())["text"])


def test_a_run_remembers_the_commit_and_repeats_it_without_asking(
    hub: Hub, sharded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repo = hub.add(NAME, sharded)
    first, again = tmp_path / "first", tmp_path / "again"
    assert main(["transcribe", CLIP, *SHORT, "-o", str(first)]) == DONE
    assert capsys.readouterr().out == f"{first}\n"
    saved = yaml.safe_load((first / "config.yaml").read_text())
    assert saved["model"]["path"] == f"{NAME}@{COMMIT}"
    assert f"{NAME} is now {NAME}@{COMMIT}" in (first / "run.log").read_text()
    assert "model-vision.safetensors" not in hub.downloads()
    assert hub.asked.count(f"HEAD /{NAME}/resolve/main/config.json") == 1

    repo.commits[LATER], repo.branches["main"] = {}, LATER
    hub.asked.clear()
    shared_model.cache_clear()
    assert main(["transcribe", "--from", str(first), "-o", str(again)]) == DONE
    assert hub.asked == []
    assert text(again) == text(first)


@pytest.mark.parametrize(
    "words",
    [
        ["transcribe", "-h"],
        ["transcribe", CLIP, *MODEL, "--cfg", "job"],
        ["transcribe", CLIP, *MODEL, "nestd=small"],
        ["transcribe", "nowhere", *MODEL],
        ["transcribe", str(SAMPLES / "images"), *MODEL],
        ["transcribe", CLIP, *MODEL, "prompt=<image>"],
        ["transcribe", CLIP, *MODEL, "path=[read,mel,write]"],
        ["evaluate", "nowhere", *MODEL],
        ["evaluate", CLIP, *MODEL],
        ["evaluate", CLIP, *MODEL, "sizes=[]"],
        ["plan", *MODEL, "batch=0"],
        ["bench", *MODEL, "repeat=0"],
        ["slice", f"model={NAME}", "nested.budget_gb=1", "-o", "out"],
        ["train", f"init={NAME}", "train=[nowhere.jsonl]", "-o", "out"],
    ],
)
def test_nothing_is_asked_of_the_hub_for_help_or_before_a_job_is_seen_to_be_right(
    hub: Hub,
    sharded: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add(NAME, sharded)
    assert main(words) == (DONE if {"-h", "--cfg"} & set(words) else WRONG_USE)
    assert hub.asked == []


def test_weights_do_not_come_for_a_folder_in_use_or_a_size_that_does_not_exist(
    hub: Hub, sharded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, sharded)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("mine")
    assert main(["transcribe", CLIP, *SHORT, "-o", str(tmp_path / "out")]) == WRONG_USE
    assert hub.asked == []
    assert (
        main(["transcribe", CLIP, *SHORT, "nested=smal", "-o", str(tmp_path / "new")]) == WRONG_USE
    )
    assert "nested='smal'" in capsys.readouterr().err
    assert not any(file.endswith(".safetensors") for file in hub.downloads())
    assert not (tmp_path / "new").exists()


def test_a_refusal_of_the_hub_is_one_line_and_leaves_nothing(
    hub: Hub, sharded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, sharded, gated=True)
    assert main(["transcribe", CLIP, *SHORT, "-o", str(tmp_path / "out")]) == WRONG_USE
    printed = capsys.readouterr()
    assert printed.err.startswith(f"gemma3n: '{NAME}' is gated: ")
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert not (tmp_path / "out").exists()


def test_all_is_here_before_the_model_loads(
    hub: Hub, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        hub.asked.clear()

    hub.add(NAME, sharded)
    monkeypatch.setattr("pipelines.in_process._load_model", load)
    assert main(["transcribe", CLIP, *SHORT, "-o", str(tmp_path / "out")]) == DONE
    assert hub.asked == []


def test_an_interrupt_during_the_download_leaves_no_run(
    hub: Hub, sharded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    hub.add(NAME, sharded)
    monkeypatch.setattr("huggingface_hub.file_download.http_get", interrupt)
    assert main(["transcribe", CLIP, *SHORT, "-o", str(tmp_path / "out")]) == INTERRUPTED
    assert not (tmp_path / "out").exists()


def test_an_evaluation_asks_once_for_all_its_sizes(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, SAMPLES.parents[1] / "gemma3n/nano")
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"audio": CLIP, "text": "ten of clubs"}))
    assert main(["evaluate", str(rows), *SHORT, "-o", str(tmp_path / "out")]) == DONE
    found = json.loads((tmp_path / "out/scores.json").read_text())
    assert found["model"] == f"{NAME}@{COMMIT}"
    assert list(found["sets"]["(no set)"]) == ["full", "small"]
    assert hub.downloads().count("model.safetensors") == 1
    assert hub.asked.count(f"HEAD /{NAME}/resolve/main/config.json") == 1


def test_a_plan_needs_no_download(
    hub: Hub, sharded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, sharded)
    assert main(["plan", *MODEL, "sizes=[full]", "context=64", "json=true"]) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found["model"] == f"{NAME}@{COMMIT}"
    assert found["sizes"][0]["parameters"] > 1_000_000
    assert not list(Path(hub.cache).rglob("*.safetensors"))


def test_a_slice_can_be_cut_from_the_hub(hub: Hub, sharded: Path, tmp_path: Path) -> None:
    hub.add(NAME, sharded)
    words = [f"model={NAME}", "nested.widths=3", "-o", str(tmp_path / "out")]
    assert main(["slice", *words]) == DONE
    assert (tmp_path / "out/model.safetensors").is_file()


def test_a_bench_measures_no_download(
    hub: Hub, sharded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.add(NAME, sharded)
    # What it starts is another process, which finds all in the cache.
    monkeypatch.setenv("HF_HUB_CACHE", hub.cache)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["bench", *MODEL, "new_tokens=2", "repeat=1", "json=true"]) == DONE
    assert json.loads(capsys.readouterr().out)["asked"]["folder"] == f"{NAME}@{COMMIT}"


def test_training_goes_on_from_a_checkpoint_on_the_hub(
    hub: Hub, sharded: Path, tmp_path: Path
) -> None:
    hub.add(NAME, sharded)
    rows = tmp_path / "rows.jsonl"
    rows.write_text(json.dumps({"prompt": "Spell cat.", "text": "c a t"}))
    out = tmp_path / "out"
    words = [f"init={NAME}", f"train=[{rows}]", "steps=1", "batch.texts=1", "-o", str(out)]
    words += ["validate_steps=0", "batch.audio_seconds=0", "batch.images=0"]
    assert main(["train", *words]) == DONE
    saved = yaml.safe_load((out / "config.yaml").read_text())
    assert saved["init"] == f"{NAME}@{COMMIT}"
    assert (out / "checkpoint/tokenizer.model").is_file()


# What is shown


def test_a_download_shows_its_progress_on_a_terminal_only_and_never_in_the_output(
    hub: Hub, sharded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, is_terminal in ((NAME, False), ("google/other", True)):
        hub.add(name, sharded)
        monkeypatch.setattr("sys.stderr.isatty", lambda there=is_terminal: there)
        assert main(["plan", f"model={name}", "sizes=[full]", "context=64", "json=true"]) == DONE
        printed = capsys.readouterr()
        assert json.loads(printed.out)
        assert ("config.json: 100%" in printed.err) == is_terminal
        assert (printed.err == "") != is_terminal


def test_the_environment_says_which_hub_and_which_cache(
    hub: Hub, sharded: Path, tmp_path: Path
) -> None:
    """As people use it: a process of its own, then another one that may not ask."""
    hub.add(NAME, sharded)

    def run(out: str, **more: str) -> subprocess.CompletedProcess[str]:
        words = ["transcribe", CLIP, *SHORT, "-o", str(tmp_path / out)]
        here = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), **more}
        command = [sys.executable, "-m", "pipelines", *words]
        return subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, **here}, check=False
        )

    first = run("first")
    assert (first.returncode, first.stdout) == (DONE, f"{tmp_path / 'first'}\n")
    assert "%" not in first.stderr
    assert f"MB come to '{tmp_path / 'home/hub'}'" in first.stderr
    files = tmp_path / "home/hub/models--google--tiny/snapshots" / COMMIT
    assert (files / "model-text.safetensors").is_symlink()

    hub.asked.clear()
    second = run("second", HF_HUB_OFFLINE="1")
    assert (second.returncode, hub.asked) == (DONE, [])
    assert text(tmp_path / "second") == text(tmp_path / "first")
