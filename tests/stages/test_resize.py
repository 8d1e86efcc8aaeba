import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from gemma3n.errors import SettingsError
from gemma3n.vision.pixels import image_pixels
from stages.model import Load
from stages.resize import Resize, ResizeSettings, Resolution, checkpoint_resolution
from stages.row import Row


@pytest.mark.parametrize(
    ("name", "size"), [("256", 256), ("512", 512), ("768", 768), ("auto", 768)]
)
def test_pictures_come_out_square_in_the_size_asked_for(name: str, size: int, load: Load) -> None:
    images = [np.zeros((7, 5, 3), np.uint8), np.full((900, 3, 3), 200, np.uint8)]
    stage = Resize(ResizeSettings(Resolution[name]), load)
    rows = stage([Row(item="a", images=images), Row(item="b", images=[])])
    assert [[p.shape for p in row["pixels"]] for row in rows] == [[(3, size, size)] * 2, []]
    assert all("images" not in row for row in rows)
    assert rows[0]["pixels"][1].min() == 200


def test_pixels_are_those_of_the_library(load: Load) -> None:
    image = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    (row,) = Resize(ResizeSettings(Resolution["256"]), load)([Row(item="a", images=[image])])
    np.testing.assert_array_equal(row["pixels"][0], image_pixels(Image.fromarray(image), 256))


def test_auto_is_what_the_checkpoint_states(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"size": {"height": 512}}))
    assert Resize(ResizeSettings(), Load(folder=str(tmp_path))).size == 512


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
