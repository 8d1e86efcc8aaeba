import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.nano import pictures
from pipelines.nano.icons import Drawing
from pipelines.nano.pictures import make_pictures
from pipelines.nano.sentences import concepts
from pipelines.nano.steps import Work


@pytest.fixture
def made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disc: Callable[..., Drawing]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Both manifests, of discs for drawings and of 1500 digits that are all the same."""
    styles = ("noto", "mdi", "emojione")
    drawings = [disc(style, one, name=one) for one in concepts() for style in styles]
    monkeypatch.setattr(pictures, "fetch_drawings", lambda out: drawings)
    inks = np.full((8, 8), 7, np.uint8)
    monkeypatch.setattr(pictures, "fetch_digits", lambda out: [(inks, 5)] * 1500)
    for name, count in (("_PER_CONCEPT", 20), ("_DIGITS", 300), ("SAMPLE_SIDE", 16), ("SIDE", 16)):
        monkeypatch.setattr(pictures, name, count)
    make_pictures(tmp_path, quick=True)
    train, dev = (
        [json.loads(line) for line in (tmp_path / f"pictures-{side}.jsonl").open()]
        for side in ("train", "dev")
    )
    for line in [*train, *dev]:
        with Image.open(tmp_path / line["image"]) as picture:
            assert picture.mode == "RGB"
    return train, dev


def test_the_manifests_hold_what_they_should(
    made: tuple[list[dict[str, Any]], list[dict[str, Any]]],
) -> None:
    train, dev = made
    captions = [line for line in train if line["set"] == "icons"]
    assert set(Counter(line["concept"] for line in captions).values()) == {2}
    assert {line["concept"] for line in captions} == set(concepts())
    assert {line["text"] for line in captions} >= {
        "a picture of an airplane",
        "a picture of a red apple",
    }
    assert "emojione" not in {line["style"] for line in train}

    plain = {line["image"] for line in dev if line["set"].startswith("icons")}
    assert not plain & {line["image"] for line in train}
    sets = Counter(line["set"] for line in dev)
    assert sets["icons, style never trained on"] == 300
    assert sets["handwritten digits"] == 300
    assert sets["questions"] == 300
    assert sets["icons, style heard"] % 9 == 0

    digits = [line for line in train if line["set"] == "handwritten digits"]
    assert {line["text"] for line in digits} == {"the handwritten digit five"}
    rows = {int(line["id"].split("-")[1]) for line in dev if line["set"] == "handwritten digits"}
    assert rows == set(range(1300, 1400))
    ids = Counter(line["id"] for line in [*train, *dev])
    assert max(ids.values()) == 1


def test_training_digits_go_through_the_training_rows_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inks = np.zeros((8, 8), np.uint8)
    monkeypatch.setattr(pictures, "fetch_digits", lambda out: [(inks, 5)] * 1500)
    monkeypatch.setattr(pictures, "draw_digit", lambda out, item: {"id": item.name})
    names = [line["id"] for line in pictures._train_digits(Work(tmp_path))]
    assert names[0] == "digit-0000-0"
    assert names[1299:1301] == ["digit-1299-0", "digit-0000-1"]
    assert len(set(names)) == len(names) == 8000
