"""What a training run says of itself: a line to read, a line of JSON, a point in TensorBoard."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from gemma3n.errors import SettingsError

logger = logging.getLogger(__name__)

LOG = "log.jsonl"


class Log:
    """The logs of one run; a resumed run appends to them.

    Args:
        folder: of the run.
        steps: in all.

    Raises:
        SettingsError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, steps: int) -> None:
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise SettingsError(
                "training writes TensorBoard logs, and tensorboard is not installed. "
                "Install gemma3n-pipelines[train]."
            ) from error
        self.folder, self.steps = folder, steps
        self.board = SummaryWriter(str(folder / "tensorboard"))

    def progress(
        self, step: int, seconds: float, left_s: float, values: Mapping[str, float]
    ) -> None:
        """Losses and the like, as means since the last line.

        Args:
            step: that was made last.
            seconds: of training so far.
            left_s: seconds until the last step, at the present speed.
            values: by name.
        """
        self._write({"step": step, "seconds": round(seconds, 1), **values}, values)
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("step %d of %d  %s  %.0f min left", step, self.steps, shown, left_s / 60)

    def scores(self, step: int, scores: Mapping[str, float]) -> None:
        """What a validation gave, 0..1."""
        self._write({"step": step, "scores": scores}, scores)
        for name, score in scores.items():
            logger.info("step %d: %s %.3f", step, name, score)

    def _write(self, line: Mapping[str, object], values: Mapping[str, float]) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        for name, value in values.items():
            step = line["step"]
            self.board.add_scalar(name, value, step)
        self.board.flush()
