"""What `gemma3n export` takes."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from pipelines.settings.model import ModelSettings, NestedSettings
from stages.setting import setting


class Runtime(Enum):
    """What the export is for."""

    hf = "hf"
    gguf = "gguf"


class Weights(Enum):
    """Number format of exported weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    q8_0 = "q8_0"


@dataclass
class ExportJob:
    """A nested size, written for another runtime."""

    to: Runtime = setting(
        Runtime.hf,
        "hf: transformers, all parts; gguf: llama.cpp, text only",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")
    weights: Weights = setting(
        Weights.auto,
        "auto: as in the checkpoint, bfloat16 in GGUF, which also takes float32 and q8_0",
    )
