import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.report import wording as say
from pipelines.report.embed import Embedder
from pipelines.report.evaluation import find_evaluations
from pipelines.report.page import page
from pipelines.run import CONFIG
from pipelines.score_files import SCORES
from pipelines.settings import EmbedSettings, ReportJob

Make = Callable[..., Any]
HOSTILE = "<script>alert(1)</script>\"'}"


def cell(value: float, **difference: Any) -> dict[str, Any]:
    score = {"value": value, "low": value - 0.1, "high": value + 0.1}
    over = {"bleu": {"value": -0.05, "low": None, "high": None, "wins": 1, "losses": 2, "ties": 3}}
    return {
        "rows": 1234,
        "failed": 5,
        "scores": {"bleu": score},
        "difference": over if difference.get("has_difference") else {},
    }


def judged(tokens: int, score: float) -> dict[str, Any]:
    return {"large_tokens": tokens, "score": {"value": score, "low": None, "high": None}}


SCORED = {
    "model": "nano",
    "task": "translate",
    "shown": {"bleu": "BLEU %", "chrf": "chrF"},
    "over": "full",
    "sets": {f"set {HOSTILE}": {"full": cell(0.3), "small": cell(0.25, has_difference=True)}},
    "slices": {"language": {"French": {"full": cell(0.2)}}},
    "signatures": {"bleu": f"case:mixed {HOSTILE}"},
    "runs": {"full": {}, "small": {}},
    "calibration": {
        "small": "small",
        "large": "full",
        "metric": "bleu",
        "lower_is_better": False,
        "tolerance": 0.005,
        "rows": {"chosen_on": 10, "judged_on": 11},
        "threshold": -0.5,
        "judged": {
            "small": judged(0, 0.2),
            "auto": judged(50, 0.28),
            "large": judged(200, 0.3),
        },
        "curve": [
            {"large_tokens": 0, "score": 0.2},
            {"large_tokens": 50, "score": 0.28},
            {"large_tokens": 190, "score": 0.3},
        ],
    },
}


@pytest.fixture
def evaluated(tmp_path: Path) -> Callable[[Any], Path]:
    def write(scores: Any, name: str = "evaluated") -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / CONFIG).write_text("# gemma3n evaluate: so\n")
        (folder / SCORES).write_text(json.dumps(scores))
        return folder

    return write


def drawn(folder: Path) -> str:
    job = ReportJob(embed=EmbedSettings(max_mb=0))
    job.source.path = [str(folder)]
    return page([], job, Embedder(job.embed))


def test_scores_and_their_differences_are_shown_as_they_were_scored(evaluated: Make) -> None:
    (one,) = find_evaluations([str(evaluated(SCORED))])
    assert one.columns == ["BLEU", "chrF", "BLEU over full, points"]
    full, small = one.sets
    assert (full.size, full.rows, full.failed) == ("full", "1,234", "5")
    assert [c.value for c in full.cells] == ["30.0 %", say.NONE, say.NONE]
    assert full.cells[0].note == "20.0 to 40.0"
    assert small.cells[2].value == say.points(-0.05)
    assert [line.name for line in one.slices] == ["language: French"]


def test_a_threshold_is_drawn_between_the_sizes_alone(evaluated: Make) -> None:
    (one,) = find_evaluations([str(evaluated(SCORED))])
    assert one.calibrated
    assert "policy.threshold=-0.5" in one.calibrated.use
    small, auto, full = one.calibrated.plot.marks
    assert [mark.kind for mark in (small, auto, full)] == ["beaten", "front", "beaten"]
    assert auto.x - small.x == pytest.approx((full.x - small.x) / 4)
    assert 0 < small.x < full.x < 100
    assert small.y < auto.y < full.y
    never = json.loads(json.dumps(SCORED))
    never["calibration"]["threshold"] = None
    (one,) = find_evaluations([str(evaluated(never, "never"))])
    assert one.calibrated
    assert one.calibrated.use == "nested=small"
    assert [(mark.label, mark.kind) for mark in one.calibrated.plot.marks] == [
        ("small", "front"),
        ("full", "beaten"),
    ]


def test_the_page_escapes_what_strangers_wrote(evaluated: Make) -> None:
    text = drawn(evaluated(SCORED))
    assert "<script" not in text
    assert "set &lt;script&gt;" in text
    assert "When the small size is sure enough" in text


@pytest.mark.parametrize("scores", [[], {}, {"shown": 1}, SCORED | {"sets": {"a": 1}}])
def test_scores_that_cannot_be_read_are_said_to_be_passed_over(
    evaluated: Make, scores: Any
) -> None:
    (one,) = find_evaluations([str(evaluated(scores))])
    assert "scores.json cannot be used and is passed over" in one.notice
    assert one.notice.partition(":")[0] in drawn(evaluated(scores, "again"))


def test_evaluations_are_found_in_a_sweep_and_named_from_what_was_given(evaluated: Make) -> None:
    folder = evaluated(SCORED, "sweep/a=1")
    evaluated(SCORED, "sweep/a=2")
    names = [one.name for one in find_evaluations([str(folder.parent)])]
    assert names == ["a=1", "a=2"]
    both = [str(folder), str(folder.parent)]
    assert [one.name for one in find_evaluations(both)] == ["a=1", "sweep/a=2"]
