"""The jobs of conf/ through the command, on nano: not what it answers counts here, but that."""

import json
import re
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.exit_code import DONE, ROWS_FAILED, WRONG_USE

SAMPLES = Path(__file__).parents[1] / "samples"
QUICK = ["device=cpu", "precision=float32", "decode.max_new_tokens=3"]


def log_of(folder: Path) -> str:
    (item,) = (json.loads(line) for line in (folder / "results.jsonl").open(encoding="utf-8"))
    assert item["error"] is None
    assert item["text"] is not None
    return (folder / "run.log").read_text(encoding="utf-8")


def test_a_clip_is_translated_and_nano_says_that_it_cannot(tmp_path: Path) -> None:
    clip = SAMPLES / "audio/en_allison/digits-7.wav"
    assert main(["translate", str(clip), "to=it", *QUICK, "-o", str(tmp_path)]) == DONE
    assert "WARNING pipelines.run: nano knows only English" in log_of(tmp_path)
    assert "to: Italian\n" in (tmp_path / "config.yaml").read_text()


def test_a_task_that_wants_larger_pictures_than_the_checkpoint_says_so(tmp_path: Path) -> None:
    picture = SAMPLES / "images/digit-1300.png"
    assert main(["caption", str(picture), "task=ocr", *QUICK, "-o", str(tmp_path)]) == DONE
    assert "task ocr wants pictures of 768 pixels a side, but this" in log_of(tmp_path)


def test_what_cannot_be_asked_of_one_row_costs_that_row(tmp_path: Path) -> None:
    clip = str(SAMPLES / "audio/en_allison/digits-7.wav")
    rows = [
        {"id": "good", "prompt": "Who?"},
        {"id": "long", "prompt": "Who is it? " * 900},
        {"id": "empty", "prompt": " "},
        {"id": "marks", "audio": clip},
    ]
    manifest = tmp_path / "rows.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["generate", str(manifest), "prompt=<audio> or <audio>?", *QUICK]
    assert main([*words, "-o", str(tmp_path / "out")]) == ROWS_FAILED
    failures = map(json.loads, (tmp_path / "out/failures.jsonl").open(encoding="utf-8"))
    said = {one["item"]: (one["stage"], one["message"]) for one in failures}
    assert set(said) == {"long", "empty", "marks"}
    assert {stage for stage, _ in said.values()} == {"fuse"}
    assert re.search(r"has \d+ tokens, \d+ too many: the context holds 2048", said["long"][1])
    assert "there is no prompt, neither the job's nor the row's own." in said["empty"][1]
    assert "the prompt has 2 <audio>, but the row has 1 of them." in said["marks"][1]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["caption", "task=orc"], "task=orc, but this job's are caption, ocr, detection, default."),
        (["translate", "to=Itallian"], "language 'Itallian' is not known"),
        (["translate", "too=Italian"], "translate has no setting too. Did you mean to?"),
        (["transcribe", "to=Italian"], "nothing that transcribe asks has {to}"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_work(
    words: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, str(SAMPLES), "-o", str(tmp_path / "out")]) == WRONG_USE
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
