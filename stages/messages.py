"""A chat as manifests have it -> its turns without media, and the media in them, in order."""

import json
from collections.abc import Collection
from typing import Any

from gemma3n.errors import InputError
from stages.media import Media, read_as

# What a part of a message is -> the keys under which it may name its file.
_PLACES = {
    "image": ("image", "url", "path"),
    "image_url": ("image_url",),
    "audio": ("audio", "url", "path"),
    "video": ("video", "url", "path"),
}
_EXAMPLE = '[{"role": "user", "content": [{"type": "audio", "audio": "a.wav"}]}]'


def turns_of(
    chat: Any, media: Collection[Media]
) -> tuple[list[dict[str, Any]], list[tuple[Media, Any]]]:
    """Take the media out of a chat.

    Args:
        chat: a list of messages `{"role", "content"}`, as JSON or as an object. A content is a
            text or a list of parts, of which those of type image, audio and video may name a file
            (Hugging Face chat templates) or stand for the next file of the row.
        media: kinds of files that the job takes.

    Returns:
        The messages, each content a list of `{"type": "text", "text": ...}`, `{"type": "audio"}`
        and `{"type": "image"}`, as which a video counts where the job takes pictures; and each
        medium with the path that it names, None if it names none.

    Raises:
        InputError: it is no list of messages.
    """
    if isinstance(chat, str):
        try:
            chat = json.loads(chat)
        except (ValueError, RecursionError) as error:
            raise InputError(f"has a chat that is not JSON: {error}. {_how()}") from error
    if not isinstance(chat, list) or not all(isinstance(message, dict) for message in chat):
        raise InputError(f"has a chat that is no list of messages. {_how()}")
    found: list[tuple[Media, Any]] = []
    turns = [
        {"role": message.get("role"), "content": _content(message.get("content"), media, found)}
        for message in chat
    ]
    return turns, found


def _content(content: Any, media: Collection[Media], found: list[tuple[Media, Any]]) -> Any:
    if isinstance(content, list):
        return [_part(part, media, found) for part in content]
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _part(part: Any, media: Collection[Media], found: list[tuple[Media, Any]]) -> Any:
    """One part, which is left as it is if it is none that we know: what asks it refuses it."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text":
        return {"type": "text", "text": part.get("text")}
    if not isinstance(kind, str) or kind not in _PLACES:
        return part
    path = next((part[key] for key in _PLACES[kind] if part.get(key) is not None), None)
    if isinstance(path, dict):  # {"url": ...}, and a Hugging Face {"path": ...}
        path = path.get("url") or path.get("path")
    if isinstance(path, str) and path.startswith("data:"):
        raise InputError(
            f"holds a medium in its chat itself ({path[:20]}...); accepted are paths and URLs. "
            "Write it to a file, or to a cell of a parquet table."
        )
    medium = Media(kind.removesuffix("_url"))
    found.append((medium, path))
    return {"type": (read_as(medium, media) or medium).value}


def _how() -> str:
    return f"Write it as in {_EXAMPLE}"
