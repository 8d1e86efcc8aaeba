"""The parts beside text: each loaded when it is first used, once, however many threads ask."""

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import nn

from gemma3n.audio.conformer import Conformer
from gemma3n.checkpoint import PARTS, Checkpoint
from gemma3n.config import AudioConfig, VisionConfig
from gemma3n.errors import SettingsError
from gemma3n.fuse import Embedder
from gemma3n.vision.mobilenet import MobileNet
from gemma3n.weights import Target, load_module, weight_bytes

Built = TypeVar("Built", bound=nn.Module)
Medium = TypeVar("Medium", AudioConfig, VisionConfig)


@dataclass(frozen=True)
class Loaded:
    """What loading a module took."""

    seconds: float
    bytes: int  # of its weights; where they are mapped, memory is what has been touched of them

    @classmethod
    def since(cls, began: float, module: nn.Module) -> "Loaded":
        """A module whose loading began at a reading of `time.perf_counter`."""
        return cls(time.perf_counter() - began, weight_bytes(module))


class Towers:
    """Vision and audio tower and their embedders.

    Args:
        checkpoint: to load from.
        parts: that may be used; embedders may always.
        target: device and dtype of the weights.
        rounds: whether large linear maps of the towers are rounded to int8.

    Attributes:
        loaded: modules by the prefix of their tensors.
        took: what loading each of them took, the last time.
    """

    def __init__(
        self, checkpoint: Checkpoint, parts: Collection[str], target: Target, rounds: bool = False
    ) -> None:
        self.checkpoint, self.parts, self.target = checkpoint, parts, target
        self.rounds = rounds
        self.loaded: dict[str, nn.Module] = {}
        self.took: dict[str, Loaded] = {}
        self._lock = threading.RLock()

    def audio(self) -> Conformer:
        """The audio tower.

        Raises:
            SettingsError: it was not among the parts asked for, or the checkpoint has none.
        """
        config = self._allowed("audio", self.checkpoint.config.audio)
        return self._get("audio", lambda: Conformer(config))

    def vision(self) -> MobileNet:
        """The vision tower.

        Raises:
            SettingsError: it was not among the parts asked for, or the checkpoint has none.
        """
        config = self._allowed("vision", self.checkpoint.config.vision)
        return self._get("vision", lambda: MobileNet(config))

    def embedder(self, medium: str) -> Embedder:
        """The embedder of "vision" or "audio".

        Raises:
            SettingsError: the checkpoint has none.
        """
        whole = self.checkpoint.config
        config = whole.vision if medium == "vision" else whole.audio
        if config is None:
            raise left_out(medium, self.parts)
        return self._get(f"embed_{medium}", lambda: Embedder(config, whole.text.hidden_size))

    def unload(self, part: str) -> None:
        """Let go of a tower and its embedder; the next use loads them again.

        Args:
            part: "vision" or "audio".
        """
        with self._lock:
            for prefix in (part, f"embed_{part}"):
                self.loaded.pop(prefix, None)

    def _get(self, prefix: str, build: Callable[[], Built]) -> Built:
        # Loaded here and not as inference tensors, whoever asks first: they can still be trained.
        with self._lock, torch.inference_mode(False):
            if prefix not in self.loaded:
                began = time.perf_counter()
                rounds = self.rounds and prefix in PARTS
                self.loaded[prefix] = load_module(
                    self.checkpoint, prefix, build, self.target, rounds
                )
                self.took[prefix] = Loaded.since(began, self.loaded[prefix])
            return self.loaded[prefix]  # type: ignore[return-value]

    def _allowed(self, part: str, config: Medium | None) -> Medium:
        if part not in self.parts or config is None:
            raise left_out(part, self.parts)
        return config


def left_out(part: str, parts: Collection[str]) -> SettingsError:
    """The refusal of a part that a model was loaded without."""
    return SettingsError(
        f"{part} is needed, but this model was loaded with {', '.join(parts)}. "
        f"Load it with parts=[..., '{part}'] from a checkpoint that has it."
    )
