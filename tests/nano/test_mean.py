from pathlib import Path

import pytest
import torch

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.save import write_json
from gemma3n.trainable import Trainable
from pipelines.nano.mean import write_mean


@pytest.fixture
def folders(checkpoint_folder: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Two checkpoints of one config."""
    old, new = tmp_path / "old", tmp_path / "new"
    config = Config.from_folder(checkpoint_folder)
    for seed, folder in enumerate((old, new)):
        Trainable(config, seed).save(folder, checkpoint_folder, torch.float32)
    return old, new


def _weights(folder: Path) -> dict[str, torch.Tensor]:
    model = Trainable(Config.from_folder(folder))
    model.load(Checkpoint(folder))
    return model.state_dict()


def test_every_weight_is_the_weighed_mean(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "mean"
    write_mean(*folders, 0.25, out)
    old, new, mean = (_weights(folder) for folder in (*folders, out))
    for name, weight in mean.items():
        wanted = 0.75 * old[name] + 0.25 * new[name]
        torch.testing.assert_close(weight, wanted, rtol=2**-7, atol=1e-6)  # bfloat16


def test_checkpoints_of_different_models_have_no_mean(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    settings = Config.from_folder(folders[1]).raw
    write_json(folders[1] / "config.json", {**settings, "boi_token_id": 3})
    with pytest.raises(SettingsError, match="different settings"):
        write_mean(*folders, 0.5, tmp_path / "mean")
