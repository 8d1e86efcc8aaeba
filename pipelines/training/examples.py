"""Manifests -> examples: what is shown, what is asked, what should be said."""

import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from stages.manifest import manifest_rows
from stages.media import Media
from stages.row import Row

logger = logging.getLogger(__name__)

SOFT_TOKEN_S = 0.16
PAUSE_S = 0.3  # between joined clips


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
    group: str = ""  # the manifest's `set`, by which results are reported
    parts: tuple["Example", ...] = ()  # clips that are heard one after the other, if joined


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
        for row in manifest_rows(path, list(Media)):
            examples.append(_example(path, row))
    if not examples:
        raise SettingsError("the manifests hold no line. Give one labelled row a line.")
    return examples


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


def fitting(examples: list[Example], config: Config) -> list[Example]:
    """The examples whose clips a prompt has places for; the others are counted and left out."""
    longest = config.audio_soft_tokens_per_image * SOFT_TOKEN_S
    kept = [example for example in examples if example.seconds <= longest]
    if left_out := len(examples) - len(kept):
        logger.warning("%d clips of more than %.1f s left out", left_out, longest)
    return kept


def _example(manifest: Path, row: Row) -> Example:
    if error := row.get("error"):
        raise SettingsError(f"'{manifest}' cannot be learned from: {error['message']}")
    clips, images = row.get("audio_paths", []), row.get("image_paths", [])
    answer = row["reference"]
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
        seconds=float(extra.get("seconds") or 0.0),
        weight=float(extra.get("weight", 1.0)),
        phones=extra.get("phones"),
        group=extra.get("set") or "",
    )
