"""What travels: every column of the whole path, in order, and the Stage base."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

import numpy as np
import numpy.typing as npt

from stages.model import Load

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from gemma3n.errors import InputError

F32 = npt.NDArray[np.float32]
U8 = npt.NDArray[np.uint8]


class Error(TypedDict):
    """Why a row has no result."""

    stage: str
    message: str  # what came, what is accepted, how to fix it


class Row(TypedDict, total=False):
    """One segment of one item. A column is absent until a stage adds it."""

    # Which row this is. (item, segment) is its key in the results.
    item: str  # path relative to the source, `/` between folders; or the manifest's id
    segment: int  # 0, 1, ... within the item
    last: bool  # whether this is the item's last segment
    place: int  # the item's place in the source: 0, 1, ...; results are in this order
    # What the source says of it.
    audio_paths: list[str]  # files to read, in the order of their marks in the prompt
    image_paths: list[str]
    prompt: str | None  # this row's own prompt, plain text; None uses the job's
    task: str | None  # this row's own task, as `fuse.task` spells it; None uses the job's
    language: str | None  # that its clips are in, as the source spells it
    nested: str | None  # name of the nested size that is to answer; None is the job's
    turns: str | None  # a chat, as JSON, see `stages/turns.py`; after it comes `prompt`, if any
    reference: str | None  # what the answer should be, if the manifest knows
    extra: str | None  # all else that the manifest's line says, as one JSON object
    offset_s: float | None  # where in its file the manifest begins its one clip, in seconds
    stated_s: float | None  # seconds that the manifest gives its one clip
    stamp: str | None  # what the item's input is; another one means that it has changed
    # What reading it shows.
    start_s: float | None  # seconds in the original file; None for what has no duration
    end_s: float | None
    audio_s: float  # seconds of all its clips together
    clip_paths: list[str]  # the file of each clip: of a long one, there are several
    # For each path, what its one mark in the prompt stands for: a letter a medium, `a` for a clip,
    # `i` for an image. A film is such as `iiaia`: images, each before the sound that goes with it.
    audio_parts: list[str]
    image_parts: list[str]
    # Heavy columns: each is dropped by the stage that turns it into the next.
    waveforms: list[F32]  # each [samples], mono, 16 kHz, -1..1
    images: list["Image"]  # each RGB, of Pillow: what reads and resizes them, without copies
    mels: list[F32]  # each [frames, 128], natural log
    pixels: list[U8]  # each [3, size, size]
    audio_tokens: list["Tensor"]  # each [tokens, hidden], soft tokens of one clip
    image_tokens: list["Tensor"]  # each [256, hidden], soft tokens of one image
    token_ids: list[int]  # the prompt, placeholders included
    embeddings: "Tensor"  # [seq, hidden], fused embeddings of `token_ids`
    # Between two pools of decoders only: of an answer by the small size that was given up.
    doubted: float  # its mean natural-log probability
    # The result.
    text: str
    new_tokens: int
    logprob: float | None  # mean natural-log probability of the new tokens; None of no tokens
    size: str  # name of the nested size that answered
    note: str | None  # what the reader of the result should know: cut at max_new_tokens, silence
    error: Error | None


HEAVY = (
    "waveforms",
    "images",
    "mels",
    "pixels",
    "audio_tokens",
    "image_tokens",
    "token_ids",
    "embeddings",
)


def light_row(
    item: str,
    audio_paths: list[str] | None = None,
    image_paths: list[str] | None = None,
    prompt: str | None = None,
    reference: str | None = None,
    extra: str | None = None,
    error: str | None = None,
) -> Row:
    """A row as the source lists it, before `read` opens its files."""
    return Row(
        item=item,
        segment=0,
        last=True,
        audio_paths=audio_paths or [],
        image_paths=image_paths or [],
        prompt=prompt,
        reference=reference,
        extra=extra,
        task=None,
        language=None,
        nested=None,
        turns=None,
        offset_s=None,
        stated_s=None,
        stamp=None,
        error=None if error is None else {"stage": "read", "message": error},
    )


@dataclass(frozen=True)
class Columns:
    """What one stage does to the columns of a row."""

    reads: tuple[str, ...] = ()  # must be there
    takes: tuple[str, ...] = ()  # used where there; a stage that reads nothing needs one of them
    adds: tuple[str, ...] = ()
    drops: tuple[str, ...] = ()


class Stage:
    """One step of the path: rows in, the same rows out in the same order.

    Heavy things (weights, files) are made in `__init__`, which runs on the machine that will use
    them, and so are imports of the model: checking a path needs neither. A stage raises
    `gemma3n.errors.InputError` for a row it cannot use; `pipelines.step` finds out which row it
    was, marks it and goes on. A stage may set and remove columns of the rows it gets, but leaves
    the values themselves alone: after an error they are tried again, one row at a time.
    """

    settings_type: ClassVar[type]  # its dataclass of settings
    reads: ClassVar[tuple[str, ...]] = ()
    takes: ClassVar[tuple[str, ...]] = ()
    adds: ClassVar[tuple[str, ...]] = ()
    drops: ClassVar[tuple[str, ...]] = ()
    types: ClassVar[dict[str, Any]] = {}  # of columns that it adds and `Row` does not declare
    expands: ClassVar[bool] = False  # may make several rows of one; then `expand` is what is called
    sees_errors: ClassVar[bool] = False  # rows that carry `error` reach it too
    streams: ClassVar[bool] = False  # may take rows as it has room for them; then `stream` is there

    def __init__(self, settings: Any, load: Load) -> None:
        """Make what every batch needs.

        Args:
            settings: of `settings_type`.
            load: the model, for `shared_model`, or just its folder.
        """

    @classmethod
    def columns(cls, settings: Any) -> Columns:
        """What this stage reads, adds and drops under its `settings`."""
        return Columns(cls.reads, cls.takes, cls.adds, cls.drops)

    def __call__(self, rows: list[Row]) -> list[Row]:
        """Transform a batch of rows."""
        raise NotImplementedError

    def expand(self, row: Row) -> Iterator[Row]:
        """What becomes of one row in a stage that `expands`, as it comes.

        The rows are segments 0, 1, ... of the row's item, and the final one says that it is the
        `last`. After `InputError` what was yielded stays, and the error is the item's last segment.
        """
        yield from self([row])

    def stream(self, rows: Iterator[Row], batch: int) -> Iterator["tuple[Row, InputError | None]"]:
        """What `__call__` does, of a stage that `streams`: rows come and go one by one.

        Args:
            rows: taken when there is room for them.
            batch: rows worked on at once.

        Yields:
            Each row when it is done, in any order; with the error of one that cannot be used.
        """
        raise NotImplementedError

    def counts(self) -> dict[str, int]:
        """What the summary of a run is to tell of it, besides rows and seconds."""
        return {}

    def close(self) -> None:
        """Finish what the last batch left open."""
