"""Waveforms -> mel spectrograms."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gemma3n.errors import SettingsError
from stages.model import Load
from stages.row import Row, Stage

if TYPE_CHECKING:
    from gemma3n.audio.mel import MelConfig


@dataclass
class MelSettings:
    """Nothing to set: how mel frames are made is the checkpoint's own."""


class Mel(Stage):
    """Turns each clip's waveform into the mel frames the audio tower reads."""

    settings_type = MelSettings
    reads = ("waveforms",)
    adds = ("mels",)
    drops = ("waveforms",)

    def __init__(self, settings: MelSettings, load: Load) -> None:
        self.config = mel_config(Path(load.folder))

    def __call__(self, rows: list[Row]) -> list[Row]:
        from gemma3n.audio.mel import log_mel

        for row in rows:
            row["mels"] = [log_mel(clip, self.config) for clip in row.pop("waveforms")]
        return rows


def mel_config(folder: Path) -> "MelConfig":
    """What the checkpoint's `preprocessor_config.json` says, or the released one if it has none.

    Raises:
        SettingsError: it is not JSON, or asks for something that this code does not do.
    """
    from gemma3n.audio.mel import MelConfig

    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return MelConfig()
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SettingsError(f"'{path}' is not JSON: {error}. Download it again.") from error
    return MelConfig.from_dict(raw)
