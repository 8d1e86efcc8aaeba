"""What `evaluate` leaves for others to read, in one place: `scores.json` and `rows.jsonl`.

`scores.json` is one object, `Scores` below. All scores are shares, 0..1 (error rates may be above):
`0.123` is printed as 12.3. `rows.jsonl` has a line for every labelled row at every size, worst
first by the first size: the fields of `pipelines.scored.Scored`, or of `TaskRow` for a task of
lm-eval. Intervals are 95 %, and `null` where rows are too few to say (see `pipelines.intervals`).
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

from stages.write import replacing

SCORES, ROWS = "scores.json", "rows.jsonl"
# What rows are sliced by -> how people are told.
SLICED = {"language": "language", "audio_s": "sound", "reference_words": "reference"}


class Interval(TypedDict):
    """A score, or how much higher one is than that of the size `over`."""

    value: float
    low: float | None
    high: float | None


class Paired(Interval):
    """A difference on the same rows; wins, losses and ties count rows."""

    wins: int
    losses: int
    ties: int


class Cell(TypedDict):
    """One set or slice at one size."""

    rows: int
    failed: int
    new_tokens: int
    scores: dict[str, Interval]  # wer cer substitutions deletions insertions exact f1 [bleu chrf]
    difference: dict[str, Paired]  # to the size `over`, on rows that both have
    unpaired: int  # rows that the size `over` has not


class Run(TypedDict):
    """How one size was run."""

    folder: str  # its run folder, as seen from that of scores.json; or an absolute path
    seconds: float | None  # that it took; None if it was begun before, or killed
    unlabelled: dict[str, int]  # `rows` without a reference, `failed` ones of those


class Scores(TypedDict, total=False):
    """`scores.json`."""

    model: str
    task: str  # transcribe translate caption generate, or the task of lm-eval
    normalise: str  # basic english none
    shown: dict[str, str]  # the scores worth a column, the most telling first, and their headings
    lower_is_better: list[str]
    over: str  # the size that others are compared with; of compare=, the first run
    sets: dict[str, dict[str, Cell]]  # set -> size -> its scores; "all rows" comes last
    slices: dict[str, dict[str, dict[str, Cell]]]  # language audio_s reference_words -> slice -> …
    signatures: dict[str, str]  # of BLEU and chrF, as sacrebleu says what it counted
    runs: dict[str, Run]  # by size
    calibration: dict[str, Any]  # of calibrate=true: `pipelines.calibrate.Calibration`
    shots: int | None  # of a task of lm-eval


class TaskRow(TypedDict):
    """A line of `rows.jsonl` for a task of lm-eval."""

    item: str  # the row's number in its task
    set: str  # the task; a group has several
    size: str
    reference: str
    text: str  # what was said, or the choice that was likeliest
    prompt: str  # of the row, its examples included
    parts: dict[str, dict[str, float]]  # by score: `of` in `out_of`
    failed: bool


def write_scores(scores: Scores, folder: Path) -> None:
    """Write `scores.json`."""
    with replacing(folder / SCORES) as file:
        file.write((json.dumps(scores, indent=2, ensure_ascii=False) + "\n").encode())


def write_rows(rows: Iterable[Any], folder: Path) -> None:
    """Write `rows.jsonl`: of dataclasses, or of what is a mapping already."""
    with replacing(folder / ROWS) as file:
        for row in rows:
            one = row if isinstance(row, Mapping) else asdict(row)
            file.write((json.dumps(one, ensure_ascii=False) + "\n").encode())


def read_scores(folder: Path) -> Scores:
    """What `evaluate` found."""
    found: Scores = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    return found


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Its rows, as they are written."""
    text = (folder / ROWS).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n") if line]
