"""The adapter that a run trains beside a model that stays as it is."""

from pathlib import Path

from gemma3n.adapter_config import AdapterConfig
from gemma3n.adapter_files import save_adapter
from gemma3n.checkpoint import Checkpoint
from gemma3n.errors import SettingsError
from gemma3n.lora import Adapter, new_adapter
from gemma3n.named import checkpoint_folder
from gemma3n.trainable import Trainable
from pipelines.settings import TrainJob


class Adaptation:
    """A new adapter, at work in a model.

    Args:
        model: that it is for, of all layers and widths.
        job: settings.

    Raises:
        SettingsError: the checkpoint has no weights to add to, or no such maps.
    """

    def __init__(self, model: Trainable, job: TrainJob) -> None:
        folder = checkpoint_folder(job.init)
        if not any(folder.glob("*.safetensors")):
            raise SettingsError(
                f"trains=lora adds to the weights of a checkpoint, and '{folder}' has none. Give "
                "one with *.safetensors, or train its own with trains=all."
            )
        lora = job.lora
        self.checkpoint = Checkpoint(job.init, ["text"])
        self.config = AdapterConfig(lora.rank, lora.alpha)
        self.added = new_adapter(model.text, self.config, lora.targets, lora.dropout, job.seed)
        self.added.attach(model.text)

    def save(self, changed: Adapter, folder: Path) -> None:
        """Write the adapter as it is, or its running mean."""
        save_adapter(folder, changed, self.config, self.checkpoint)
