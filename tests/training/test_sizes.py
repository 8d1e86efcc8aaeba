from pathlib import Path

import pytest

from gemma3n import SettingsError
from gemma3n.config import Config
from gemma3n.named import checkpoint_folder
from gemma3n.trainable import Trainable
from pipelines.settings import JointSettings
from pipelines.training.sizes import NestedSizes


@pytest.fixture
def model() -> Trainable:
    return Trainable(Config.from_folder(checkpoint_folder("nano")))


def test_a_step_trains_the_full_and_the_small_size_by_their_weights(model: Trainable) -> None:
    sizes = NestedSizes(model, model.config, JointSettings(0.7, 0.3), seed=0)
    full, small = sizes.of(0)
    assert (full.weight, small.weight) == (0.7, 0.3)
    assert set(small.size.widths) < set(full.size.widths)
    assert sizes.of(1)[1] == small


@pytest.mark.parametrize("joint", [JointSettings(1, 0), JointSettings(0, 1)])
def test_a_size_without_weight_is_not_computed(model: Trainable, joint: JointSettings) -> None:
    assert len(NestedSizes(model, model.config, joint, seed=0).of(0)) == 1


def test_weights_that_leave_no_size_to_train_are_refused(checkpoint_folder: Path) -> None:
    flat = Trainable(Config.from_folder(checkpoint_folder))  # its config names no sizes
    with pytest.raises(SettingsError, match=r"joint\.full=0"):
        NestedSizes(flat, flat.config, JointSettings(0, 1), seed=0)


def test_a_share_of_the_batches_trains_sizes_between_the_same_at_every_start(
    model: Trainable,
) -> None:
    sizes = NestedSizes(model, model.config, JointSettings(random=0.3), seed=0)
    small, full = sizes.small.ffn_widths(model.config.text), model.text.full.widths
    drawn = [sizes.of(number)[1].size.widths for number in range(400)]
    between = [widths for widths in drawn if widths != small]
    assert 0.2 < len(between) / 400 < 0.4
    assert len({tuple(widths.items()) for widths in between}) > 50
    for widths in between:
        assert set(small) <= set(widths) <= set(full)
        assert all(small.get(layer, 0) <= width <= full[layer] for layer, width in widths.items())
    again = NestedSizes(model, model.config, JointSettings(random=0.3), seed=0)
    assert [again.of(number)[1].size.widths for number in range(400)] == drawn
