"""Tasks of the harness's own form, from files that the test makes; nothing is fetched."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gemma3n.choices import Device, Precision
from gemma3n.errors import SettingsError
from pipelines.evaluate import evaluate
from pipelines.exit_code import DONE
from pipelines.score_files import read_rows, read_scores
from pipelines.settings import EvaluateJob, Normaliser
from stages.source import SourceSettings

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
CHOICE = """
task: after
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: multiple_choice
test_split: test
fewshot_split: test
doc_to_text: "What comes after {{{{word}}}}?"
doc_to_choice: choices
doc_to_target: right
target_delimiter: " "
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
MATHS = """
task: plus
dataset_path: json
dataset_kwargs: {{data_files: {{test: {rows}}}}}
output_type: generate_until
test_split: test
fewshot_split: test
doc_to_text: "What is {{{{word}}}} plus one?"
doc_to_target: "{{{{choices[right]}}}}"
generation_kwargs: {{until: ["\\n"], max_gen_toks: 4}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true}}
"""
MakeTask = Callable[[str], EvaluateJob]


@pytest.fixture
def make_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeTask:
    """An evaluation of nano by a task over nine rows."""
    pytest.importorskip("lm_eval", reason="extra lm-eval")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    rows = tmp_path / "rows.jsonl"
    lines = [
        {"word": word, "choices": [WORDS[n + 1], word, WORDS[(n + 5) % 10]], "right": 0}
        for n, word in enumerate(WORDS[:-1])
    ]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))

    def make(yaml: str) -> EvaluateJob:
        (tmp_path / "task.yaml").write_text(yaml.format(rows=rows))
        return EvaluateJob(
            task=str(tmp_path / "task.yaml"),
            sizes=["full", "small"],
            shots=1,
            output=str(tmp_path / "out"),
            precision=Precision.float32,
            device=Device.cpu,
        )

    return make


def test_a_multiple_choice_is_scored_at_every_size(
    make_task: MakeTask, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = make_task(CHOICE)
    job.chat = True
    assert evaluate(job) == DONE
    found = read_scores(tmp_path / "out")
    assert (found["shots"], found["shown"], found["over"]) == (1, {"acc": "acc %"}, "full")
    rows = read_rows(tmp_path / "out")
    assert len(rows) == 18
    for size in ("full", "small"):
        cell = found["sets"]["after"][size]
        right = sum(row["text"] == row["reference"] for row in rows if row["size"] == size)
        assert cell["scores"]["acc"]["value"] == pytest.approx(right / 9)
        low, high = cell["scores"]["acc"]["low"], cell["scores"]["acc"]["high"]
        assert low is not None
        assert high is not None
        assert low <= right / 9 <= high
    assert set(found["sets"]["after"]["small"]["difference"]) == {"acc"}
    assert rows[0]["prompt"].count("What comes after") == 2  # its example, and itself
    assert "after" in capsys.readouterr().out


def test_answers_are_scored_as_the_harness_does(make_task: MakeTask, tmp_path: Path) -> None:
    job = make_task(MATHS)
    job.source.limit, job.json = 4, True
    assert evaluate(job) == DONE
    found, rows = read_scores(tmp_path / "out"), read_rows(tmp_path / "out")
    assert found["sets"]["plus"]["full"]["rows"] == 4
    assert [row["reference"] for row in rows[:4]] == WORDS[1:5]
    right = sum(row["parts"]["exact_match"]["of"] for row in rows[:4])
    assert found["sets"]["plus"]["full"]["scores"]["exact_match"]["value"] == right / 4


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"source": SourceSettings(path=["a.jsonl"])}, r"source.path=\['a.jsonl'\] means nothing"),
        ({"calibrate": True}, "calibrate=true means nothing"),
        ({"normalise": Normaliser.none}, "normalise=none means nothing"),
        ({"task": "no_such_file.yaml"}, "does not exist"),
    ],
)
def test_what_the_harness_has_no_use_for_is_refused(settings: dict[str, Any], said: str) -> None:
    pytest.importorskip("lm_eval", reason="extra lm-eval")
    with pytest.raises(SettingsError, match=said):
        evaluate(EvaluateJob(**{"task": "gsm8k", **settings}))


@pytest.mark.slow
def test_a_task_that_nobody_has_is_refused_with_one_that_is_like_it() -> None:
    pytest.importorskip("lm_eval", reason="extra lm-eval")
    with pytest.raises(SettingsError, match=r"Did you mean gsm8k\?"):
        evaluate(EvaluateJob(task="gsm8kk"))


def test_without_lm_eval_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(
        SettingsError, match=r"Did you mean task=transcribe\? Install .*\[lm-eval\]"
    ):
        evaluate(EvaluateJob(task="transcrib"))
    with pytest.raises(SettingsError, match=r"task=mmlu is none of transcribe, .*\[lm-eval\]"):
        evaluate(EvaluateJob(task="mmlu"))
