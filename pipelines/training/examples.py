"""Manifests -> examples: what is shown, what is asked, what should be said."""

import json
import logging
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from gemma3n.chat import Turn
from gemma3n.config import Config
from gemma3n.errors import InputError, SettingsError
from gemma3n.losses.phones import PHONES
from stages.fuse import with_media
from stages.manifest import manifest_rows
from stages.media import Media
from stages.room import seconds_a_clip
from stages.row import Row
from stages.turns import said_turns

logger = logging.getLogger(__name__)

PAUSE_S = 0.3  # between joined clips
_MARGIN_S = 0.01  # `seconds` may be rounded


class Kind(Enum):
    """What an example shows; a batch holds one kind."""

    audio = "audio"
    image = "image"
    text = "text"


@dataclass(frozen=True)
class Example:
    """One labelled row."""

    item: str
    kind: Kind
    path: str | None  # of the clip or image
    prompt: str | None  # its own; None asks what the job asks of its kind
    answer: str
    seconds: float = 0.0  # of the clip
    weight: float = 1.0  # how often it is drawn, 1 is once an epoch
    phones: str | None = None  # forced alignment, see `gemma3n.losses.phones`
    chat: tuple[Turn, ...] = ()  # in place of prompt and answer; what the model says is learned
    group: str = ""  # the manifest's `set`, by which results are reported
    parts: tuple["Example", ...] = ()  # clips that are heard one after the other, if joined

    @property
    def asks(self) -> bool:
        """Whether it asks something of its own, and not what the job asks of its kind."""
        return bool(self.prompt or self.chat)


def read_examples(manifests: Iterable[str]) -> list[Example]:
    """All lines of all manifests.

    Raises:
        SettingsError: no such manifest, or a line that cannot be learned from.
    """
    examples: list[Example] = []
    for manifest in manifests:
        path = Path(manifest)
        if not path.is_file():
            raise SettingsError(f"manifest '{path}' does not exist. Give a .jsonl file.")
        for row in manifest_rows(path, [Media.audio, Media.image]):
            examples.append(_example(path, row))
    if not examples:
        raise SettingsError("the manifests hold no line. Give one labelled row a line.")
    return examples


def spread(examples: Sequence[Example], most: int) -> Sequence[Example]:
    """So many of the examples at the most, evenly over all of them."""
    return examples[:: max(1, len(examples) // most)][:most]


@contextmanager
def needed(example: Example) -> Iterator[None]:
    """Where an example is read that nothing else stands in for.

    Raises:
        SettingsError: in the place of an `InputError`; it names the example.
    """
    try:
        yield
    except InputError as error:
        raise SettingsError(f"'{example.item}' cannot be used: {error}") from error


def joined(parts: Sequence[Example]) -> Example:
    """Clips as one, said one after the other; a single one stays as it is."""
    if len(parts) == 1:
        return parts[0]
    return Example(
        item="+".join(part.item for part in parts),
        kind=Kind.audio,
        path=None,
        prompt=None,
        answer=" ".join(part.answer for part in parts),
        seconds=sum(part.seconds for part in parts) + PAUSE_S * (len(parts) - 1),
        parts=tuple(parts),
    )


def longest_clip(config: Config, slowest: float = 1.0) -> float:
    """Seconds of a clip that a prompt has places for when it is heard at the lowest speed."""
    return seconds_a_clip(config) * slowest - _MARGIN_S


def fitting(examples: list[Example], config: Config, slowest: float = 1.0) -> list[Example]:
    """The examples whose clips a prompt has places for; the others are counted and left out.

    Args:
        examples: all there are.
        config: of the model.
        slowest: lowest speed at which a clip may be heard.
    """
    longest = longest_clip(config, slowest)
    kept = [example for example in examples if example.seconds <= longest]
    if left_out := len(examples) - len(kept):
        logger.warning("%d clips of more than %.1f s left out", left_out, longest)
    return kept


def _example(manifest: Path, row: Row) -> Example:
    if error := row.get("error"):
        raise SettingsError(f"'{manifest}' cannot be learned from: {error['message']}")
    clips, images = row.get("audio_paths", []), row.get("image_paths", [])
    try:
        chat = _chat(row, len(clips), len(images))
    except InputError as error:
        raise SettingsError(f"'{row['item']}' in '{manifest}': {error}") from error
    answer = str(chat[-1].content[-1]) if chat else row["reference"]
    if answer is None or len(clips) + len(images) > 1:
        raise SettingsError(
            f"'{row['item']}' in '{manifest}' has {len(clips)} clips, {len(images)} images and "
            f"the answer {answer!r}; one example has an answer and at most one of them. "
            "Give `text`, and one row a clip or image."
        )
    extra = json.loads(row["extra"] or "{}")
    kind = Kind.audio if clips else Kind.image if images else Kind.text
    return Example(
        item=row["item"],
        kind=kind,
        path=next(iter([*clips, *images]), None),
        prompt=row["prompt"],
        answer=answer,
        seconds=_number(row, extra, "seconds", "duration"),
        weight=_number(row, extra, "weight", default=1.0),
        phones=_phones(row, extra),
        chat=chat,
        group=str(extra.get("set") or ""),
    )


def _chat(row: Row, clips: int, images: int) -> tuple[Turn, ...]:
    """The turns of a row that has some, up to the model's last; its own or the reference.

    Raises:
        InputError: no chat, or nothing that the model says at its end.
    """
    if row["turns"] is None:
        return ()
    turns = said_turns(row["turns"])
    if turns and turns[-1].role != "model" and row["reference"] is not None:
        turns.append(Turn("model", [row["reference"]]))
    if not turns or turns[-1].role != "model" or not all(turn.content for turn in turns):
        raise InputError(
            "the chat does not end with what the model should say. End it with a turn of the "
            "model, or give the row `text`."
        )
    return tuple(with_media(turns, clips, images))


def _number(row: Row, extra: dict[str, Any], *names: str, default: float = 0.0) -> float:
    """The first of the columns that is there."""
    value = next((extra[name] for name in names if extra.get(name) is not None), default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise SettingsError(
            f"'{row['item']}' has {names[0]} {value!r}; it is a number, 0 or more. Correct it."
        )
    return float(value)


def _phones(row: Row, extra: dict[str, Any]) -> str | None:
    phones = extra.get("phones")
    if phones is None:
        return None
    pairs = [word.partition(":") for word in phones.split()] if isinstance(phones, str) else []
    if not pairs or any(p not in PHONES or not frames.isdigit() for p, _, frames in pairs):
        raise SettingsError(
            f"'{row['item']}' has phones {phones!r}; they are phones of CMUdict with frames of "
            '40 ms each, as in "AH:3 B:7". Correct them, or leave them out.'
        )
    return str(phones)
