"""What `gemma3n export` takes."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from pipelines.settings.model import ModelSettings, NestedSettings, Part
from stages.setting import setting


class Runtime(Enum):
    """What the export is for."""

    hf = "hf"
    gguf = "gguf"
    litert = "litert"
    torch_export = "torch_export"


class Weights(Enum):
    """Number format of exported weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    q8_0 = "q8_0"
    int8 = "int8"


@dataclass
class ExportJob:
    """A nested size, written for another runtime."""

    to: Runtime = setting(
        Runtime.hf,
        "hf: transformers; gguf: llama.cpp, text only; litert: .tflite; torch_export: .pt2",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")
    weights: Weights = setting(
        Weights.auto,
        "gguf: float32, bfloat16 (auto) or q8_0; litert: float32 (auto) or int8; hf and "
        "torch_export: auto",
    )
    parts: list[Part] = setting(
        [Part.text, Part.vision, Part.audio],
        "parts to write, of those that the checkpoint has; of litert and torch_export",
    )
    resolutions: list[int] = setting(
        [], "pixels a side of the vision tower's programs, [256,512,768]; [] is the checkpoint's"
    )
    clip_s: float = setting(0.0, "seconds that the audio tower's program reads; 0: the most")
    prefill: list[int] = setting(
        [128], "tokens a text program reads at once, a signature each; of litert"
    )
    context: int = setting(1024, "tokens that the KV cache of a text program holds; of litert")
