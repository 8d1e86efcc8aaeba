"""The `turns` of a row -> the turns of a chat, with marks where its media go."""

import json
from typing import Any

from gemma3n.chat import Mark, Turn
from gemma3n.errors import InputError

_ROLES = {"user": "user", "model": "model", "assistant": "model", "system": "system"}
_MARKS = {"image": Mark.IMAGE, "audio": Mark.AUDIO}
_EXAMPLE = '[{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": "Who?"}]}]'


def chat_turns(turns: str, prompt: str | None) -> list[Turn]:
    """Lay out the chat of one row, to which an answer is wanted.

    Args:
        turns: see `said_turns`.
        prompt: of the row, what the user says last.

    Raises:
        InputError: it is of another form, or does not end with the user.
    """
    chat = said_turns(turns)
    if prompt is not None:
        chat.append(Turn("user", [prompt]))
    if not chat or chat[-1].role != "user":
        raise InputError(
            f"the chat has {len(chat)} turns and its last is "
            f"{'not there' if not chat else f'of role {chat[-1].role!r}'}, but an answer is to "
            "what the user says. End it with a user turn, or give the row a prompt as well."
        )
    return chat


def said_turns(turns: str) -> list[Turn]:
    """Lay out the chat of one row; its text is plain text, whatever it holds.

    Args:
        turns: JSON, a list of objects with a `role` (user, model or assistant, system) and a
            `content`: a text, or a list of `{"type": "text", "text": ...}`, `{"type": "audio"}` and
            `{"type": "image"}`, which stand for the row's media in order.

    Raises:
        InputError: it is of another form. Which roles follow which is checked where token ids are
            made.
    """
    try:
        raw = json.loads(turns)
    except (ValueError, RecursionError) as error:
        raise InputError(f"turns are not JSON: {error}. Write them as in {_EXAMPLE}") from error
    if not isinstance(raw, list):
        raise InputError(f"turns are a JSON {type(raw).__name__}. Write them as in {_EXAMPLE}")
    return [_turn(number, one) for number, one in enumerate(raw, start=1)]


def _turn(number: int, raw: Any) -> Turn:
    match raw:
        case {"role": str(spelt)} if spelt in _ROLES:
            role, content = _ROLES[spelt], raw.get("content")
        case _:
            raise InputError(
                f"turn {number} is {_shown(raw)}, which has no role of {', '.join(_ROLES)}. "
                f"Write turns as in {_EXAMPLE}"
            )
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise InputError(
            f"turn {number} has content={_shown(content)}; accepted are a text and a list of "
            f"parts. Write turns as in {_EXAMPLE}"
        )
    return Turn(role, [_part(number, part) for part in parts])


def _part(number: int, raw: Any) -> str | Mark:
    match raw:
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": "image" | "audio" as medium}:
            return _MARKS[medium]
    raise InputError(
        f"turn {number} has a part {_shown(raw)}; accepted are text, audio and image. "
        f"Write turns as in {_EXAMPLE}"
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:80]}…"
