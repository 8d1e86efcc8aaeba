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


def test_layers_and_widths_make_a_size(config: Config) -> None:
    layers = [i for i in range(15) if i != 12]
    size = nested_size(NestedSettings(layers=layers, widths=[128]), config)
    assert (size.skip, size.widths) == ((12,), 128)
    size = nested_size(NestedSettings(layers=layers), config)
    assert (size.skip, size.widths) == ((12,), None)
    size = nested_size(NestedSettings(widths=[200 + i for i in range(15)]), config)
    assert (size.skip, size.widths) == ((), tuple(range(200, 215)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (NestedSettings("smal"), r"nested='smal', but this checkpoint knows full"),
        (
            NestedSettings("full,small"),
            "nested=full,small names several sizes, and one run has one. Add -m",
        ),
        (NestedSettings(layers=[0, 99]), r"nested layers \[99\]"),
        (NestedSettings(widths=[10_000]), "width=10000 for layer 0"),
        (NestedSettings("small", layers=[0]), "nested=small and nested.layers or nested.widths"),
        (NestedSettings("small", budget_gb=1), "nested=small and nested.budget_gb each choose"),
        (NestedSettings(widths=[1], budget_gb=1), "nested.widths and nested.budget_gb each"),
        (NestedSettings(layers=[1, 0], widths=[1, 2]), r"nested.layers=\[1, 0\] .* Order both"),
        (NestedSettings(layers=[0, 0], widths=[1, 2]), r"as in \[0\]"),
    ],
)
def test_a_size_that_cannot_be_meant_or_is_not_there_is_refused(
    config: Config, settings: NestedSettings, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        nested_size(settings, config)
