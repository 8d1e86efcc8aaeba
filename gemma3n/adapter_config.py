"""What peft's adapter_config.json says of an adapter, and what of it is computed here; no torch."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma3n.config import read_object
from gemma3n.errors import SettingsError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# What else a config may ask for would change results.
_ONLY: dict[str, Any] = {
    "peft_type": "LORA",
    "bias": "none",
    "use_dora": False,
    "fan_in_fan_out": False,
    "rank_pattern": {},
    "alpha_pattern": {},
    "modules_to_save": None,
}


@dataclass(frozen=True)
class AdapterConfig:
    """The numbers of an adapter: its additions are `alpha / rank * up @ down`."""

    rank: int
    alpha: float
    rank_stabilised: bool = False  # alpha / sqrt(rank) then (arXiv 2312.03732)

    @property
    def scale(self) -> float:
        """What the products are multiplied with."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def content(self, base: str, targets: list[str]) -> dict[str, Any]:
        """The file's content.

        Args:
            base: name of the checkpoint that was trained on.
            targets: released names of the maps.
        """
        return {
            **_ONLY,
            "base_model_name_or_path": base,
            "inference_mode": True,
            "lora_alpha": self.alpha,
            "lora_dropout": 0.0,
            "r": self.rank,
            "target_modules": targets,
            "task_type": "CAUSAL_LM",
            "use_rslora": self.rank_stabilised,
        }


def read_config(folder: str | Path) -> AdapterConfig:
    """Read an adapter's config.

    Raises:
        SettingsError: `folder` is no adapter's, or asks for more than LoRA.
    """
    path = Path(folder, CONFIG)
    for needed in (path, path.with_name(WEIGHTS)):
        if not needed.is_file():
            raise SettingsError(
                f"adapter '{folder}' has no {needed.name}, so it is no adapter in peft's layout. "
                "Give the folder that `gemma3n train trains=lora`, or peft, wrote."
            )
    config = read_object(path)
    for name, accepted in _ONLY.items():
        came = config.get(name) or None
        if came != (accepted or None):
            raise SettingsError(
                f"'{path}' has {name}={json.dumps(came)}; accepted is {json.dumps(accepted)}. "
                "Merge the adapter into its model with the tool that made it, and use that."
            )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise SettingsError(
            f"'{path}' has r={rank!r} and lora_alpha={alpha!r}; they are a whole number from 1 and "
            "a number. Save the adapter again."
        )
    return AdapterConfig(rank, float(alpha), bool(config.get("use_rslora")))
