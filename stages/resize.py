"""Images -> pixels of the size the vision tower reads."""

import logging
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gemma3n.errors import SettingsError
from gemma3n.named import checkpoint_folder
from stages.model import Load, preprocessor_config
from stages.prompts import DEFAULT_TASK
from stages.row import Row, Stage
from stages.setting import fixed, setting

logger = logging.getLogger(__name__)

# By this syntax a name may be a number: `resize.resolution=256` is what people type.
Resolution = Enum("Resolution", {"auto": "auto", "256": 256, "512": 512, "768": 768})

_RELEASED = 768  # pixels a side, what released checkpoints were trained on


@dataclass
class ResizeSettings:
    """How large a picture is when the model sees it."""

    resolution: Resolution = setting(
        Resolution["auto"],
        "side in pixels: 256, 512, 768, or auto, what the task needs and else what the checkpoint "
        "was trained on",
    )
    by_task: dict[str, int] = fixed({})  # what auto is; tasks that it does not name need no other
    at_most: int | None = fixed(None)  # pixels a side that there is memory for


class Resize(Stage):
    """Brings each picture to a square of one size, whatever its shape."""

    settings_type = ResizeSettings
    reads = ("images", "task")
    adds = ("pixels",)
    drops = ("images",)

    def __init__(self, settings: ResizeSettings, load: Load, task: str = DEFAULT_TASK) -> None:
        """See `Stage`.

        Args:
            settings: how large pictures become.
            load: the model, whose folder says what it was trained on.
            task: of rows that have none of their own.
        """
        self.settings, self.task = settings, task
        self.size = largest_side(settings, checkpoint_folder(load.folder))
        self.told: set[str] = set()  # tasks whose own size this checkpoint lacks

    def __call__(self, rows: list[Row]) -> list[Row]:
        from gemma3n.vision.pixels import image_pixels

        for row in rows:
            size = self._size(row["task"] or self.task)
            row["pixels"] = [image_pixels(image, size) for image in row.pop("images")]
        return rows

    def _size(self, task: str) -> int:
        """Pixels a side: what the task needs, but no more than there may be."""
        wanted = _wanted(self.settings, self.size, task)
        if wanted > self.size and task not in self.told:
            self.told.add(task)
            why, fix = "this checkpoint was trained on", f"set resize.resolution={wanted}"
            if self.size == self.settings.at_most:
                why, fix = "there is memory for", "raise nested.budget_gb"
            logger.warning(
                "task %s wants pictures of %d pixels a side, but %s %d: they get that. To insist, "
                "%s",
                *(task, wanted, why, self.size, fix),
            )
        return min(wanted, self.size)


def largest_side(settings: ResizeSettings, folder: Path) -> int:
    """Pixels a side that no picture exceeds, of a checkpoint in `folder`.

    Raises:
        SettingsError: see `checkpoint_resolution`.
    """
    chosen = settings.resolution.value
    side = checkpoint_resolution(folder) if chosen == "auto" else int(chosen)
    return side if settings.at_most is None else min(side, settings.at_most)


def task_side(settings: ResizeSettings, folder: Path, task: str) -> int:
    """Pixels a side of pictures of one task, of a checkpoint in `folder`.

    Raises:
        SettingsError: see `checkpoint_resolution`.
    """
    most = largest_side(settings, folder)
    return min(_wanted(settings, most, task), most)


def _wanted(settings: ResizeSettings, otherwise: int, task: str) -> int:
    is_auto = settings.resolution.value == "auto"
    return settings.by_task.get(task, otherwise) if is_auto else otherwise


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
