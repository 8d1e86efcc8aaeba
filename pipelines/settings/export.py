"""What `gemma3n export` takes."""

from dataclasses import dataclass, field
from enum import Enum

from omegaconf import MISSING

from gemma3n.errors import SettingsError
from pipelines.settings.model import ModelSettings, NestedSettings, Part
from stages.setting import setting

_LONGEST_S = 30.0


class Runtime(Enum):
    """What the export is for."""

    hf = "hf"
    gguf = "gguf"
    torch = "torch"
    litert = "litert"


class Weights(Enum):
    """Number format of exported weights."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    q8_0 = "q8_0"
    int8 = "int8"


@dataclass
class ProgramSettings:
    """Of to=torch and litert: which parts, and the shapes that their programs have."""

    parts: list[Part] = setting([], "of text, vision, audio; by default all that there are")
    resolutions: list[int] = setting([], "pixels a side; by default what the checkpoint says")
    seconds: float | None = setting(None, "longest clip; by default what a prompt has places for")
    prefill: list[int] = setting([128], "tokens of a pass over a prompt, one program each")
    context: int = setting(1024, "places of the cache")

    def __post_init__(self) -> None:
        counts = {"prefill": min(self.prefill, default=2) - 1, "context": self.context}
        for name, count in counts.items():
            if count < 1:
                raise SettingsError(
                    f"program.{name}={getattr(self, name)}; a pass over a prompt has 2 tokens or "
                    "more, and a cache one place. Raise it."
                )
        if self.seconds is not None and not 0 < self.seconds <= _LONGEST_S:
            raise SettingsError(
                f"program.seconds={self.seconds}; up to {_LONGEST_S:g}, as long a clip as the "
                "tower was made for. Correct it."
            )


@dataclass
class ExportJob:
    """A nested size, written for another runtime."""

    to: Runtime = setting(
        Runtime.hf,
        "hf: transformers, all parts; gguf: llama.cpp, text only; torch: programs of torch.export; "
        "litert: programs for LiteRT (.tflite)",
    )
    model: ModelSettings = field(default_factory=ModelSettings)
    nested: NestedSettings = field(default_factory=NestedSettings)
    output: str = setting(MISSING, "folder to write; must not exist, or be empty")
    weights: Weights = setting(
        Weights.auto,
        "auto: as in the checkpoint, bfloat16 in GGUF, which also takes float32 and q8_0; float32 "
        "in programs, which LiteRT also has with int8 weights",
    )
    calibrate: list[str] = setting(
        [],
        "of LiteRT with int8 weights: manifests (jsonl with `text`) whose pictures and clips "
        "decide how the towers' activations are rounded; none: each as it comes",
    )
    rows: int = setting(32, "rows of them, of each kind, spread evenly")
    program: ProgramSettings = field(default_factory=ProgramSettings)
