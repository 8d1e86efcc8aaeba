import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from gemma3n.errors import SettingsError
from gemma3n.vision.pixels import image_pixels
from stages.model import Load
from stages.resize import Resize, ResizeSettings, Resolution, checkpoint_resolution, task_side
from stages.row import Row, light_row

BY_TASK = {"caption": 256, "detection": 512, "ocr": 768}
BLACK = Image.new("RGB", (2, 3))


def picture_row(*images: Image.Image, task: str | None = None) -> Row:
    row = light_row("a", image_paths=["a.png"] * len(images))
    return row | Row(images=list(images), task=task)


def sides(stage: Resize, *tasks: str | None) -> list[int]:
    """Pixels a side of one picture of each task."""
    rows = stage([picture_row(BLACK, task=task) for task in tasks])
    return [row["pixels"][0].shape[-1] for row in rows]


@pytest.mark.parametrize(
    ("name", "size"), [("256", 256), ("512", 512), ("768", 768), ("auto", 768)]
)
def test_pictures_come_out_square_in_the_size_asked_for(name: str, size: int, load: Load) -> None:
    images = [Image.new("RGB", (5, 7)), Image.new("RGB", (3, 900), (200, 200, 200))]
    stage = Resize(ResizeSettings(Resolution[name]), load)
    rows = stage([picture_row(*images), picture_row()])
    assert [[p.shape for p in row["pixels"]] for row in rows] == [[(3, size, size)] * 2, []]
    assert all("images" not in row for row in rows)
    assert rows[0]["pixels"][1].min() == 200


def test_pixels_are_those_of_the_library(load: Load) -> None:
    image = Image.effect_noise((40, 30), 50).convert("RGB")
    (row,) = Resize(ResizeSettings(Resolution["256"]), load)([picture_row(image)])
    np.testing.assert_array_equal(row["pixels"][0], image_pixels(image, 256))


def test_auto_is_what_the_checkpoint_states(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 512}}))
    assert Resize(ResizeSettings(), Load(folder=str(tmp_path))).size == 512


def test_auto_goes_by_the_task_of_the_row_and_else_of_the_job(load: Load) -> None:
    settings = ResizeSettings(by_task=BY_TASK)
    tasks = (None, "caption", "detection", "ocr", "transcribe")
    assert sides(Resize(settings, load), *tasks) == [768, 256, 512, 768, 768]
    assert sides(Resize(settings, load, "detection"), *tasks) == [512, 256, 512, 768, 768]


def test_a_size_that_is_set_is_that_of_every_task(load: Load) -> None:
    stage = Resize(ResizeSettings(Resolution["512"], BY_TASK), load, "ocr")
    assert sides(stage, None, "caption", "ocr") == [512, 512, 512]


def test_no_task_gets_more_than_there_is_memory_for(
    load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    settings = ResizeSettings(by_task=BY_TASK, at_most=512)
    tasks = ("caption", "detection", "ocr")
    with caplog.at_level(logging.WARNING):
        assert sides(Resize(settings, load), *tasks) == [256, 512, 512]
    folder = Path(load.folder)
    assert [task_side(settings, folder, task) for task in tasks] == [256, 512, 512]
    assert "there is memory for 512: they get that. To insist, raise nested" in caplog.text


def test_no_task_gets_more_than_the_checkpoint_was_trained_on_and_that_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 256}}))
    stage = Resize(ResizeSettings(by_task=BY_TASK), Load(folder=str(tmp_path)))
    with caplog.at_level(logging.WARNING):
        assert sides(stage, "ocr", "caption", "ocr") == [256, 256, 256]
    assert [record.getMessage() for record in caplog.records] == [
        "task ocr wants pictures of 768 pixels a side, but this checkpoint was trained on 256: "
        "they get that. To insist, set resize.resolution=768"
    ]


@pytest.mark.parametrize("size", [{"height": 500}, {"height": "x"}, {}, [768]])
def test_a_resolution_that_no_tower_has_is_refused(tmp_path: Path, size: Any) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    with pytest.raises(SettingsError, match=r"its height must be 256, 512 or 768. Set resize.reso"):
        checkpoint_resolution(tmp_path)


def test_a_resolution_may_be_typed_as_a_number_and_survives_yaml() -> None:
    settings = OmegaConf.structured(ResizeSettings)
    settings.resolution = 256
    text = OmegaConf.to_yaml(settings)
    again = OmegaConf.merge(OmegaConf.structured(ResizeSettings), OmegaConf.create(text))
    assert OmegaConf.to_object(again) == ResizeSettings(Resolution["256"])
