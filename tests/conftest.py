"""What many tests need: the reference arrays, the checkpoint they were made with, and its model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from safetensors.torch import load_file
from torch import Tensor

import gemma3n
from gemma3n.compiling import check
from gemma3n.errors import SettingsError

GOLDEN = Path(__file__).parent / "golden"
# A property is about results; how long an example takes depends on what else the machine does.
settings.register_profile("here", deadline=None, max_examples=30)
settings.load_profile("here")
# Tests run side by side; one thread each is faster than two that wait for each other.
torch.set_num_threads(1)


Arrays = Callable[[str], dict[str, Tensor]]


@pytest.fixture(scope="session")
def golden() -> Arrays:
    """Loads the arrays of one golden file; `golden/README.md` says how they were made."""
    return lambda name: load_file(GOLDEN / f"{name}.safetensors")


@pytest.fixture(scope="session")
def checkpoint_folder() -> Path:
    """The tiny random checkpoint of the reference arrays."""
    return GOLDEN / "checkpoint"


@pytest.fixture(scope="session")
def model(checkpoint_folder: Path) -> gemma3n.Gemma3n:
    """That checkpoint in float32, all parts; shared, so tests must not change it."""
    return gemma3n.load(checkpoint_folder, precision="float32", device="cpu")


@pytest.fixture(scope="session")
def bfloat16_model(checkpoint_folder: Path) -> gemma3n.Gemma3n:
    """The same in bfloat16."""
    return gemma3n.load(checkpoint_folder, precision="bfloat16", device="cpu")


@pytest.fixture(scope="session")
def slices() -> dict[str, gemma3n.NestedSize]:
    """The nested sizes that the reference sliced out of that checkpoint, by name."""
    described = json.loads((GOLDEN / "slices.json").read_text())
    return {
        name: gemma3n.NestedSize.from_skip(one["skip_layers"], one["ffn_hidden_dims"], name)
        for name, one in described.items()
    }


@pytest.fixture
def compiler() -> None:
    """Skips a test where torch finds nothing to compile with."""
    try:
        check("cpu")
    except SettingsError as error:
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
