"""Drawings and handwritten digits -> PNG files and the manifests `pictures-*.jsonl`.

Training pictures come in equal numbers for each concept; a drawing in natural colours is drawn more
often than a one-coloured sign. Captions are worded as in the samples.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from pipelines.nano.clips import rng_of
from pipelines.nano.digits import Inks, fetch_digits, plain_digit, vary_digit
from pipelines.nano.icons import Drawing, Paint, fetch_drawings
from pipelines.nano.questions import picture_questions
from pipelines.nano.scene import compose, plain
from pipelines.nano.sentences import DIGITS, article, concepts
from pipelines.nano.split import Split, digit_row
from pipelines.nano.steps import Step, Work, do, read_lines, spread, stamp, write_lines

SIDE = 96  # pixels of a picture in which things vary
SAMPLE_SIDE = 256  # pixels of the samples' icons
_PER_CONCEPT = 250
_DIGITS = 8000
_QUESTIONS = 5000
_DEV_QUESTIONS = 300
_QUICK = 0.1  # of the training pictures; the development pictures are all made

_SHARES = {Paint.natural: 0.7, Paint.tinted: 0.1, Paint.blank: 0.2}

Line = dict[str, Any]  # of a manifest


@dataclass(frozen=True)
class Icon:
    """A picture of a drawing, to be made."""

    name: str  # also names its random numbers
    drawing: Drawing
    kind: str
    plain: bool = False  # as the samples are


@dataclass(frozen=True)
class Digit:
    """A picture of a handwritten digit, to be made."""

    name: str
    inks: Inks
    digit: int
    plain: bool


def make_pictures(out: Path, quick: bool, workers: int = 1) -> None:
    """Write `pictures/*.png`, `pictures-train.jsonl` and `pictures-dev.jsonl`.

    Args:
        out: the folder of the whole recipe.
        quick: make a tenth of the training pictures.
        workers: processes.
    """
    work = Work(out, workers, _QUICK if quick else 1.0)
    train = [Step("pictures-icons", _train_icons), Step("pictures-digits", _train_digits)]
    dev = [Step("dev-pictures-icons", _dev_icons), Step("dev-pictures-digits", _dev_digits)]
    for steps, questions, manifest in (
        (train, work.amount(_QUESTIONS), "pictures-train.jsonl"),
        (dev, _DEV_QUESTIONS, "pictures-dev.jsonl"),
    ):
        lines: list[Line] = []
        for step in steps:
            do(step, work)
            lines += read_lines(stamp(work, step.name))
        write_lines(out / manifest, lines + picture_questions(lines, questions))


def _train_icons(work: Work) -> Iterator[Line]:
    drawings = fetch_drawings(work.out)
    items = []
    for concept in concepts():
        choices: dict[Paint, list[Drawing]] = defaultdict(list)
        for drawing in drawings:
            if drawing.concept == concept and drawing.split is Split.train:
                choices[drawing.paint].append(drawing)
        shares = [_SHARES[paint] for paint in choices]
        for number in range(work.amount(_PER_CONCEPT)):
            name = f"icon-{concept.replace(' ', '-')}-{number:04}"
            rng = rng_of(f"drawing of {name}")
            drawing = rng.choice(rng.choices(list(choices.values()), shares)[0])
            items.append(Icon(name, drawing, "icons"))
    return spread(work, partial(draw_icon, work.out), items)


def _dev_icons(work: Work) -> Iterator[Line]:
    items = []
    for drawing in fetch_drawings(work.out):
        if drawing.split is Split.dev:
            never = drawing.style == "emojione"
            kind = "icons, style never trained on" if never else "icons, style heard"
            name = f"{drawing.style}-{drawing.name.replace('/', '-')}"
            items.append(Icon(name, drawing, kind, plain=True))
            items += [Icon(f"{name}-{n}", drawing, kind) for n in range(1, 3 if never else 9)]
    return spread(work, partial(draw_icon, work.out), items)


def draw_icon(out: Path, icon: Icon) -> Line:
    """Make one picture of a drawing; its manifest line comes back."""
    drawing = icon.drawing
    if icon.plain:
        picture = plain(drawing, SAMPLE_SIDE)
    else:
        picture = compose(drawing, rng_of(icon.name), SIDE)
    line = {
        "text": f"a picture of {article(drawing.concept)}",
        "set": icon.kind,
        "style": drawing.style,
        "concept": drawing.concept,
        "source": drawing.style,
    }
    return _save(out, icon.name, picture) | line


def _train_digits(work: Work) -> Iterator[Line]:
    digits = fetch_digits(work.out)
    rows = [row for row in range(len(digits)) if digit_row(row) is Split.train]
    items = []
    for number in range(work.amount(_DIGITS)):
        again, place = divmod(number, len(rows))
        items.append(_digit(digits, rows[place], again))
    return spread(work, partial(draw_digit, work.out), items)


def _dev_digits(work: Work) -> Iterator[Line]:
    digits = fetch_digits(work.out)
    rows = [row for row in range(len(digits)) if digit_row(row) is Split.dev]
    items = [_digit(digits, row, again) for row in rows for again in range(3)]
    return spread(work, partial(draw_digit, work.out), items)


def _digit(digits: list[tuple[Inks, int]], row: int, again: int) -> Digit:
    """The first picture of a row is plain."""
    return Digit(f"digit-{row:04}-{again}", *digits[row], plain=again == 0)


def draw_digit(out: Path, item: Digit) -> Line:
    """Make one picture of a digit; its manifest line comes back."""
    picture = plain_digit(item.inks) if item.plain else vary_digit(item.inks, rng_of(item.name))
    line = {
        "text": f"the handwritten digit {DIGITS[item.digit]}",
        "set": "handwritten digits",
        "style": "handwriting",
        "concept": DIGITS[item.digit],
        "source": "load_digits",
    }
    return _save(out, item.name, picture) | line


def _save(out: Path, name: str, picture: Image.Image) -> Line:
    path = Path("pictures") / f"{name}.png"
    (out / path).parent.mkdir(parents=True, exist_ok=True)
    picture.save(out / path)
    return {"id": name, "image": path.as_posix()}
