"""Images -> pixels of the size the vision tower reads."""

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gemma3n.errors import SettingsError
from gemma3n.named import checkpoint_folder
from stages.model import Load, preprocessor_config
from stages.row import Row, Stage
from stages.setting import setting

# By this syntax a name may be a number: `resize.resolution=256` is what people type.
Resolution = Enum("Resolution", {"auto": "auto", "256": 256, "512": 512, "768": 768})

_RELEASED = 768  # pixels a side, what released checkpoints were trained on


@dataclass
class ResizeSettings:
    """How large a picture is when the model sees it."""

    resolution: Resolution = setting(
        Resolution["auto"],
        "side in pixels: 256, 512, 768, or auto, what the checkpoint was trained on",
    )


class Resize(Stage):
    """Brings each picture to a square of one size, whatever its shape."""

    settings_type = ResizeSettings
    reads = ("images",)
    adds = ("pixels",)
    drops = ("images",)

    def __init__(self, settings: ResizeSettings, load: Load) -> None:
        chosen = settings.resolution.value
        self.size = (
            checkpoint_resolution(checkpoint_folder(load.folder))
            if chosen == "auto"
            else int(chosen)
        )

    def __call__(self, rows: list[Row]) -> list[Row]:
        from PIL import Image

        from gemma3n.vision.pixels import image_pixels

        for row in rows:
            images = map(Image.fromarray, row.pop("images"))
            row["pixels"] = [image_pixels(image, self.size) for image in images]
        return rows


def checkpoint_resolution(folder: Path) -> int:
    """Pixels a side that the checkpoint's `preprocessor_config.json` states, else the released.

    Raises:
        SettingsError: it states something else.
    """
    size = preprocessor_config(folder).get("size")
    match size:
        case None:
            return _RELEASED
        case {"height": 256 | 512 | 768 as side}:
            return side
    raise SettingsError(
        f"preprocessor_config.json in '{folder}' has size={size!r}; its height must be 256, 512 or "
        "768. Set resize.resolution to one of them, or correct the file."
    )
