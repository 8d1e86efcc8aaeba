from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from gemma3n.checkpoint import Checkpoint
from gemma3n.joint import Weighted
from gemma3n.trainable import Trainable
from pipelines.settings import LossSettings, TrainJob
from pipelines.training.batch import Batch
from pipelines.training.examples import Kind, read_examples
from pipelines.training.objective import Objective


@pytest.fixture
def model(checkpoint_folder: Path) -> Trainable:
    torch.manual_seed(0)
    checkpoint = Checkpoint(checkpoint_folder)
    model = Trainable(checkpoint.config)
    model.load(checkpoint)
    return model


@pytest.fixture
def batches(make_job: Callable[..., TrainJob], collate: Callable[..., Batch]) -> dict[Kind, Batch]:
    found = read_examples(make_job("unused").train)
    return {kind: collate([one for one in found if one.kind is kind][:2], "") for kind in Kind}


def losses(model: Trainable, batch: Batch, weights: LossSettings) -> dict[str, Tensor]:
    torch.manual_seed(0)  # heads alike
    objective = Objective(model, weights, [])
    return objective(model, batch, [Weighted(model.text.full, 1.0)])


def test_a_guide_is_learned_beside_the_answers_and_does_not_change_them(
    model: Trainable, batches: dict[Kind, Batch]
) -> None:
    guided, alone = LossSettings(answer=1.0, guide=0.5), LossSettings(answer=1.0)
    batch = batches[Kind.audio]
    before = losses(model, batch, guided)
    torch.testing.assert_close(before["answer"], losses(model, batch, alone)["answer"])
    optimizer = torch.optim.AdamW(model.text.parameters(), 3e-3)
    for _ in range(5):
        optimizer.zero_grad()
        losses(model, batch, guided)["guide"].backward()
        optimizer.step()
    assert losses(model, batch, guided)["guide"] < 0.9 * before["guide"]


@pytest.mark.parametrize("kind", [Kind.image, Kind.text])
def test_there_is_no_guide_where_nothing_is_heard(
    model: Trainable, batches: dict[Kind, Batch], kind: Kind
) -> None:
    assert set(losses(model, batches[kind], LossSettings(answer=1.0, guide=1.0))) == {"answer"}
