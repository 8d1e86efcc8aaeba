"""The golden checkpoint's vision tower."""

from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from gemma3n.config import Config
from gemma3n.vision.mobilenet import MobileNet

PREFIX = "model.vision_tower.timm_model."
Arrays = Callable[[str], dict[str, Tensor]]


@pytest.fixture(scope="session")
def tower(golden: Arrays, checkpoint_folder: Path) -> MobileNet:
    """In float32; shared, so tests must not change it."""
    config = Config.from_folder(checkpoint_folder).vision
    assert config is not None
    tower = MobileNet(config)
    weights = golden("checkpoint/model").items()
    tower.load_state_dict(  # strict: names and shapes are the checkpoint's
        {k.removeprefix(PREFIX): v.float() for k, v in weights if k.startswith(PREFIX)}
    )
    return tower.requires_grad_(False)
