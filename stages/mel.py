"""Waveforms -> mel spectrograms."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemma3n.errors import InputError
from gemma3n.named import checkpoint_folder
from stages.model import Load, preprocessor_config
from stages.row import F32, Row, Stage

if TYPE_CHECKING:
    from gemma3n.audio.mel import MelConfig


@dataclass
class MelSettings:
    """Nothing to set: how mel frames are made is the checkpoint's own."""


class Mel(Stage):
    """Turns each clip's waveform into the mel frames the audio tower reads."""

    settings_type = MelSettings
    reads = ("clip_paths", "waveforms")
    adds = ("mels",)
    drops = ("waveforms",)

    def __init__(self, settings: MelSettings, load: Load) -> None:
        self.config = mel_config(checkpoint_folder(load.folder))

    def __call__(self, rows: list[Row]) -> list[Row]:
        for row in rows:
            clips = zip(row["clip_paths"], row.pop("waveforms"), strict=True)
            row["mels"] = [self._mel(path, waveform) for path, waveform in clips]
        return rows

    def _mel(self, path: str, waveform: F32) -> F32:
        from gemma3n.audio.mel import log_mel

        try:
            return log_mel(waveform, self.config)
        except InputError as error:
            raise InputError(f"clip '{path}': {error}") from error


def mel_config(folder: Path) -> "MelConfig":
    """What the checkpoint's `preprocessor_config.json` says, or the released one if it has none.

    Raises:
        SettingsError: it is not JSON, or asks for something that this code does not do.
    """
    from gemma3n.audio.mel import MelConfig

    return MelConfig.from_dict(preprocessor_config(folder))
