"""Evaluation of whole jobs. Not how good nano is counts here, but that its errors are counted."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from gemma3n.choices import Device, Precision
from gemma3n.errors import SettingsError
from gemma3n.policy import is_unsure
from pipelines.assemble import TABLE
from pipelines.evaluate import evaluate
from pipelines.exit_code import DONE, INTERRUPTED, ROWS_FAILED
from pipelines.run import run_path
from pipelines.score_files import read_rows, read_scores
from pipelines.settings import EvaluateJob, Normaliser, PathJob, PolicyKind, PolicySettings
from stages.resize import ResizeSettings, Resolution
from stages.source import SourceSettings

SAMPLES = Path(__file__).parents[1] / "samples"
MakeJob = Callable[..., EvaluateJob]


@pytest.fixture
def make_job(tmp_path: Path) -> MakeJob:
    """An evaluation of given rows by nano."""

    def make(*rows: dict[str, Any], **more: Any) -> EvaluateJob:
        manifest = tmp_path / "rows.jsonl"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        job = EvaluateJob(
            sizes=["full", "small"],
            output=str(tmp_path / "out"),
            precision=Precision.float32,
            device=Device.cpu,
            source=SourceSettings(path=[str(manifest)]),
        )
        job.decode.max_new_tokens = 6
        return replace(job, **more)

    return make


def clip(name: str, **row: Any) -> dict[str, Any]:
    return {"audio": str(SAMPLES / "audio" / name), **row}


def test_every_set_is_scored_at_every_size(
    make_job: MakeJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_job(
        clip("cmu-cards/001.wav", text="ten of clubs", set="cards"),
        clip("en_allison/digits-7.wav", text="seven", set="digits"),
        clip("en_allison/digits-7.wav", text="seven", set="digits", id="again"),
    )
    assert evaluate(job) == DONE
    found = json.loads((tmp_path / "out/scores.json").read_text())["sets"]
    assert {name: list(sizes) for name, sizes in found.items()} == {
        "cards": ["full", "small"],
        "digits": ["full", "small"],
        "all rows": ["full", "small"],
    }
    assert found["digits"]["small"]["rows"] == 2
    assert found["all rows"]["full"]["rows"] == 3
    assert found["cards"]["full"]["scores"]["wer"]["low"] is None  # one row says little
    rows = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    assert len(rows) == 6
    errors = [row["parts"]["wer"]["of"] for row in rows]
    assert errors == sorted(errors, reverse=True)
    printed = capsys.readouterr().out
    assert "digits" in printed
    assert "right: ten of clubs" in printed


def test_what_is_scored_is_what_the_job_said(
    make_job: MakeJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """References taken from a first evaluation are met by a second one."""
    rows = [clip("cmu-cards/001.wav", text="x"), clip("en_allison/digits-7.wav", text="y")]
    job = make_job(*rows, sizes=["full"])
    job.decode.temperature = 1.0  # something is said, whatever nano knows
    evaluate(job)
    said = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").read_text().splitlines()]
    by_item = {row["item"]: row["text"] for row in said}
    for row in rows:
        row["text"] = next(text for item, text in by_item.items() if item in row["audio"])
    job = replace(job, output=str(tmp_path / "again"), json=True)
    Path(job.source.path[0]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    assert evaluate(job) == DONE
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "again/scores.json").read_text())
    scores = found["sets"]["(no set)"]["full"]["scores"]
    assert scores["wer"]["value"] == 0
    assert scores["exact"]["value"] == scores["f1"]["value"] == 1


def test_pictures_are_asked_as_caption_asks(make_job: MakeJob, tmp_path: Path) -> None:
    row = {"image": str(SAMPLES / "images/noto-cow.png"), "text": "a picture of a cow"}
    job = make_job(row, task="caption", sizes=["small"])
    assert evaluate(job) == DONE
    config = (tmp_path / "out/small/config.yaml").read_text()
    assert "Describe this picture" in config
    assert "small" in config
    assert (tmp_path / f"out/small/{TABLE}.parquet").is_file()


def test_a_broken_file_counts_as_nothing_said(make_job: MakeJob, tmp_path: Path) -> None:
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    job = make_job(
        {"audio": str(tmp_path / "broken.wav"), "text": "two words"},
        clip("en_allison/digits-7.wav", text="seven"),
        sizes=["full"],
    )
    assert evaluate(job) == ROWS_FAILED
    found = json.loads((tmp_path / "out/scores.json").read_text())["sets"]["(no set)"]["full"]
    assert (found["rows"], found["failed"]) == (2, 1)
    assert found["scores"]["deletions"]["value"] >= 2 / 3


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"sizes": ["huge"]}, "huge"),
        ({"resize": ResizeSettings(Resolution["512"])}, "no stage resize"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(
    make_job: MakeJob, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    row = clip("en_allison/digits-7.wav", text="seven")
    with pytest.raises(SettingsError, match=said):
        evaluate(make_job(row, **settings))
    assert not (tmp_path / "out").exists()


def test_rows_without_references_are_refused_before_any_work(
    make_job: MakeJob, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="has a reference"):
        evaluate(make_job(clip("en_allison/digits-7.wav"), sizes=["full"]))
    assert not (tmp_path / "out").exists()


def test_rows_that_are_all_for_another_task_are_refused_before_any_work(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """Pictures, asked what is said in them: the likeliest mistake with a manifest."""
    picture = {"image": str(SAMPLES / "images/noto-cow.png"), "text": "a picture of a cow"}
    with pytest.raises(SettingsError, match=r"none of the 2 labelled rows .* by task=transcribe"):
        evaluate(make_job(picture, picture | {"id": "again"}))
    assert not (tmp_path / "out").exists()
    # A single row that can be used is an evaluation, in which the others have failed.
    job = make_job(picture, clip("en_allison/digits-7.wav", text="seven"), sizes=["full"])
    assert evaluate(job) == ROWS_FAILED


def test_without_an_output_the_same_evaluation_goes_on_in_the_same_folder(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    row = clip("en_allison/digits-7.wav", text="seven")
    job = make_job(row, sizes=["full"], output=None)
    assert evaluate(job) == evaluate(job) == DONE
    (folder,) = Path("outputs/evaluate").iterdir()
    assert folder.name.startswith("rows.jsonl-")
    assert evaluate(replace(job, sizes=["small"])) == DONE
    assert len(list(Path("outputs/evaluate").iterdir())) == 2


def test_without_jiwer_it_says_what_to_install(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jiwer", None)
    with pytest.raises(SettingsError, match=r"Install gemma3n-pipelines\[eval\]"):
        evaluate(make_job(clip("en_allison/digits-7.wav", text="seven")))


def test_a_size_that_another_one_is_in_this_checkpoint_is_not_run_again(
    make_job: MakeJob, tmp_path: Path, checkpoint_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    job = make_job(clip("en_allison/digits-7.wav", text="seven"), sizes=["full", "small", "FULL"])
    job.model.path = str(checkpoint_folder)  # it names no sizes
    assert evaluate(job) == DONE
    assert "small is the same as full in this checkpoint" in caplog.text
    assert not (tmp_path / "out/small").exists()


def test_files_of_others_are_not_overwritten(make_job: MakeJob, tmp_path: Path) -> None:
    job = make_job(clip("en_allison/digits-7.wav", text="seven"), sizes=["full"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out/config.yaml").write_text("mine: true")
    with pytest.raises(SettingsError, match="which no run of gemma3n wrote"):
        evaluate(job)
    (tmp_path / "out/config.yaml").unlink()
    assert evaluate(job) == DONE


def test_a_long_recording_is_scored_as_the_task_would_transcribe_it(
    make_job: MakeJob, tmp_path: Path
) -> None:
    sound, rate = soundfile.read(SAMPLES / "audio/en_allison/string-407.wav", dtype="float32")
    soundfile.write(tmp_path / "long.wav", np.tile(np.append(sound, np.zeros(2 * rate)), 4), rate)
    job = make_job({"audio": "long.wav", "text": "four zero seven"}, sizes=["full"])
    assert evaluate(job) == DONE
    (row,) = pq.read_table(tmp_path / f"out/full/{TABLE}.parquet").to_pylist()
    assert len(row["segments"]) == 4


def test_rows_that_failed_stay_so_if_they_are_not_to_be_tried_again(
    make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job({"audio": "late.wav", "text": "seven"}, sizes=["full"])
    assert evaluate(job) == ROWS_FAILED
    late = tmp_path / "out/full/results"
    before = sorted(late.iterdir())
    assert evaluate(replace(job, retry_failed=False)) == ROWS_FAILED
    assert sorted(late.iterdir()) == before


def test_an_evaluation_goes_on_where_it_was_ended_and_refuses_another(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(clip("en_allison/digits-7.wav", text="seven"), sizes=["full"])
    assert evaluate(job) == DONE
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.in_process.shared_model", lambda *_: 1 / 0)
        assert evaluate(job) == DONE
    job.decode.max_new_tokens += 1
    with pytest.raises(SettingsError, match=r"holds results of something else: decode.max_new"):
        evaluate(job)
    assert evaluate(replace(job, fresh=True)) == DONE


def test_an_interrupted_evaluation_scores_the_sizes_that_were_done(
    make_job: MakeJob, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job(clip("en_allison/digits-7.wav", text="seven"))

    def run(one: PathJob, folder: Path, command: str) -> int:
        return INTERRUPTED if one.nested.name == "small" else run_path(one, folder, command)

    monkeypatch.setattr("pipelines.evaluate.run_path", run)
    assert evaluate(job) == INTERRUPTED
    found = json.loads((tmp_path / "out/scores.json").read_text())
    assert list(found["sets"]["(no set)"]) == ["full"]


def test_a_translation_is_scored_by_bleu_and_chrf(make_job: MakeJob, tmp_path: Path) -> None:
    rows = [
        clip("en_allison/digits-7.wav", text="sept", language="en"),
        clip("cmu-cards/001.wav", references=["dix de trefle", "le dix de trefle"], lang="French"),
    ]
    job = make_job(*rows, task="translate", sizes=["full"])
    job.fuse.to = "French"
    assert evaluate(job) == DONE
    found = read_scores(tmp_path / "out")
    assert list(found["shown"]) == ["bleu", "chrf", "exact"]
    cell = found["sets"]["(no set)"]["full"]
    assert 0 <= cell["scores"]["chrf"]["value"] < 1
    assert "nrefs:var" in found["signatures"]["bleu"]
    assert list(found["slices"]["language"]) == ["English", "French"]
    assert found["slices"]["language"]["French"]["full"]["rows"] == 1
    (more,) = (row for row in read_rows(tmp_path / "out") if row["references"])
    assert more["reference"] == "dix de trefle"
    assert more["references"] == ["dix de trefle", "le dix de trefle"]
    assert len(more["counts"]["bleu"]) == 10
    assert more["audio_s"] > 0


def test_rows_past_the_limit_are_not_run_and_do_not_count(
    make_job: MakeJob, tmp_path: Path
) -> None:
    rows = [clip("en_allison/digits-7.wav", text="seven", id=str(n)) for n in range(4)]
    job = make_job(*rows, sizes=["full"])
    assert evaluate(job) == DONE
    job.source.limit = 2
    assert evaluate(job) == DONE
    assert read_scores(tmp_path / "out")["sets"]["(no set)"]["full"]["rows"] == 2
    job = replace(job, output=str(tmp_path / "other"))
    assert evaluate(job) == DONE
    assert pq.read_table(tmp_path / f"other/full/{TABLE}.parquet").num_rows == 2


def test_texts_as_they_stand_are_compared_so(make_job: MakeJob, tmp_path: Path) -> None:
    row = clip("en_allison/digits-7.wav", text="Seven.")
    for kind, right in ((Normaliser.basic, 1), (Normaliser.none, 0)):
        assert evaluate(make_job(row, sizes=["full"], normalise=kind)) == DONE
        found = read_scores(tmp_path / "out")
        assert found["normalise"] == kind.value
        assert found["sets"]["(no set)"]["full"]["scores"]["exact"]["value"] == right


def test_a_calibration_foresees_what_policy_auto_does(
    make_job: MakeJob, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("digits-7", "letters-w", "phonetic-a_p", "string-19", "string-407")
    rows = [
        clip(f"en_allison/{name}.wav", text="seven", id=f"{copy}-{name}")
        for copy in "abcd"
        for name in names
    ]
    assert evaluate(make_job(*rows, calibrate=True)) == DONE
    found = read_scores(tmp_path / "out")["calibration"]
    assert (found["small"], found["large"]) == ("small", "full")
    assert sum(found["rows"].values()) == len(rows)
    small, full = (
        {row["item"]: row for row in read_rows(tmp_path / "out") if row["size"] == size}
        for size in ("small", "full")
    )
    assert (
        0
        < found["judged"]["small"]["small_tokens"]
        < sum(row["new_tokens"] for row in small.values())
    )
    assert found["curve"][-1]["share"] == 1
    assert found["curve"][-1]["score"] == pytest.approx(found["judged"]["large"]["score"]["value"])
    assert "was chosen on" in capsys.readouterr().out
    threshold = found["curve"][len(found["curve"]) // 2]["threshold"]
    job = make_job(*rows, sizes=["full"], output=str(tmp_path / "auto"))
    job.policy = PolicySettings(PolicyKind.auto, threshold=threshold)
    assert evaluate(job) == DONE
    again = 0
    for row in read_rows(tmp_path / "auto"):
        is_again = is_unsure(small[row["item"]]["logprob"], threshold)
        again += is_again
        assert row["text"] == (full if is_again else small)[row["item"]]["text"]
    assert 0 < again < len(rows)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"calibrate": True}, "at least 20"),
        ({"calibrate": True, "sizes": ["full"]}, "Name two that differ"),
        ({"calibrate": True, "policy": PolicySettings(PolicyKind.auto)}, "answer alone"),
        ({"shots": 5}, "shots=5 is of tasks of lm-eval"),
        ({"source": SourceSettings(path=[])}, "source.path is not set"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused_before_any_work(
    make_job: MakeJob, tmp_path: Path, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingsError, match=said):
        evaluate(make_job(clip("en_allison/digits-7.wav", text="seven"), **settings))
    assert not (tmp_path / "out").exists()


def test_there_must_be_a_size() -> None:
    with pytest.raises(SettingsError, match="at least one nested size"):
        EvaluateJob(sizes=[])


@pytest.mark.parametrize("settings", [{"shots": -1}, {"tolerance": -0.1}, {"worst": -1}])
def test_a_setting_out_of_its_range_is_refused(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(SettingsError, match=f"{name}=.*; 0 or more"):
        EvaluateJob(**settings)
