from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import gemma3n
from gemma3n.errors import SettingsError
from gemma3n.rounded_towers import RoundedMap, round_maps
from gemma3n.vision.layers import Conv, Pointwise
from gemma3n.vision.pixels import image_pixels

SAMPLES = Path(__file__).parent / "samples"


def test_large_maps_are_rounded_and_nothing_else() -> None:
    tower = nn.Sequential(
        nn.Linear(512, 640, bias=False),
        nn.Linear(512, 511, bias=False),
        nn.Linear(512, 512),
        Pointwise(512, 512),
        Conv(512, 512, kernel=1),
    )
    round_maps(tower, tower.get_parameter)
    assert [type(one) for one in tower] == [RoundedMap, nn.Linear, nn.Linear, RoundedMap, Conv]


def test_a_rounded_map_is_near_the_one_that_it_was_made_of() -> None:
    torch.manual_seed(0)
    plain, x = Pointwise(512, 512), torch.randn(2, 3, 5, 512)
    exact, found = plain(x), RoundedMap(plain.weight)(x)
    assert found.shape == exact.shape
    assert (found - exact).norm() < 0.02 * exact.norm()
    assert RoundedMap(plain.weight)(x.bfloat16()).dtype is torch.bfloat16


def pixels() -> Tensor:
    image = Image.open(SAMPLES / "images/digit-1305.png")
    return torch.from_numpy(image_pixels(image, 256)[None].astype(np.float32) / 255)


def cosine(a: Tensor, b: Tensor) -> float:
    return float(torch.cosine_similarity(a.float().flatten(), b.float().flatten(), dim=0))


def test_features_of_rounded_towers_are_near_those_of_plain_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gemma3n.rounded.TOWER_LEAST", 64)
    plain, rounded = (
        gemma3n.load("nano", precision="float32", device="cpu", towers=towers)
        for towers in ("auto", "int8")
    )
    mels = [torch.randn(400, 128, generator=torch.Generator().manual_seed(0))]
    sound, image = rounded.encode_audio(mels)[0], rounded.encode_images(pixels())
    for tower in (rounded.audio, rounded.vision):
        assert any(isinstance(module, RoundedMap) for module in tower.modules())
    assert 0.99 < cosine(sound, plain.encode_audio(mels)[0]) < 1
    assert 0.99 < cosine(image, plain.encode_images(pixels())) < 1


def test_a_precision_that_towers_do_not_have_is_refused() -> None:
    with pytest.raises(SettingsError, match="towers='int4'; accepted are auto, int8"):
        gemma3n.load("nano", towers="int4")
