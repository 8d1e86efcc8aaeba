from pathlib import Path

import pytest

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import FULL_SIZE
from pipelines.nested import nested_size
from pipelines.settings import NestedSettings


@pytest.fixture
def config(checkpoint_folder: Path) -> Config:
    return Config.from_folder(checkpoint_folder)


def test_a_size_is_found_by_its_name(config: Config) -> None:
    assert nested_size(NestedSettings(), config) == FULL_SIZE


def test_layers_and_widths_make_a_size_and_count_before_the_name(config: Config) -> None:
    layers = [i for i in range(15) if i != 12]
    size = nested_size(NestedSettings("small", layers=layers, widths=[128]), config)
    assert (size.skip, size.widths) == ((12,), 128)
    size = nested_size(NestedSettings(layers=layers), config)
    assert (size.skip, size.widths) == ((12,), None)
    size = nested_size(NestedSettings(widths=[200 + i for i in range(15)]), config)
    assert (size.skip, size.widths) == ((), tuple(range(200, 215)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (NestedSettings("smal"), r"nested='smal', but this checkpoint knows full"),
        (NestedSettings(layers=[0, 99]), r"nested layers \[99\]"),
        (NestedSettings(widths=[10_000]), "width=10000 for layer 0"),
    ],
)
def test_a_size_that_the_checkpoint_does_not_hold_is_refused(
    config: Config, settings: NestedSettings, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        nested_size(settings, config)
