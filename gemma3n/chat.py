"""A prompt template or a conversation -> plain text, media marks and turn boundaries, in order.

The layout is that of the chat template released with the instruction-tuned checkpoints.
`tokenizer.py` turns it into token ids.
"""

import re
from dataclasses import dataclass
from enum import Enum
from itertools import chain, cycle

from gemma3n.errors import InputError


class Mark(Enum):
    """Where one image or one clip goes in a prompt."""

    IMAGE = "<image>"
    AUDIO = "<audio>"


class Boundary(Enum):
    """The control tokens around a turn."""

    START = "<start_of_turn>"
    END = "<end_of_turn>"


@dataclass
class Turn:
    """What one side says: `role` is user, model or system; `content` is text and media, in order.

    Text in it is plain, marks included: `["<image>"]` is seven characters, `[Mark.IMAGE]` a
    picture. `parse_template` makes content from a template, where marks count.
    """

    role: str
    content: list[str | Mark]

    def __post_init__(self) -> None:
        if isinstance(self.content, str):  # it would be read letter by letter
            raise TypeError(
                f"content is the string {self.content!r}, but a turn holds a list of text and "
                "marks. Give [text] for plain text, or parse_template(text) if its marks count."
            )


def parse_template(template: str) -> list[str | Mark]:
    """Split a prompt template at `<image>` and `<audio>`; nowhere else do these count.

    Fill in text of other origin afterwards, in the strings: it then stays plain text.
    """
    marks = {mark.value: mark for mark in Mark}
    parts = re.split(f"({'|'.join(marks)})", template)
    return [marks.get(part, part) for part in parts if part]


def chat_layout(turns: list[Turn], open_model_turn: bool) -> list[str | Mark | Boundary]:
    """Everything that follows <bos>: see `Tokenizer.chat_ids`, which also says what is refused."""
    _check(turns, open_model_turn)
    layout: list[str | Mark | Boundary] = []
    system = ""
    for turn in turns:
        if turn.role == "system":  # the model knows no such role: it opens the first user turn
            system = "".join(str(part) for part in turn.content) + "\n\n"
            continue
        content = [part.strip() if isinstance(part, str) else part for part in turn.content]
        layout += [Boundary.START, f"{turn.role}\n{system}", *content, Boundary.END, "\n"]
        system = ""
    if open_model_turn:
        layout += [Boundary.START, "model\n"]
    return layout


def _check(turns: list[Turn], open_model_turn: bool) -> None:
    opening = ["system"] if turns and turns[0].role == "system" else []
    expected = chain(opening, cycle(["user", "model"]))
    for number, (turn, role) in enumerate(zip(turns, expected, strict=False), start=1):
        if turn.role != role:
            raise InputError(
                f"turn {number} has role {turn.role!r}, where {role!r} must come. A chat is an "
                "optional system turn, then user and model alternately, user first. Join what one "
                "side says in a row; an assistant's role is spelt 'model'."
            )
        if role == "system" and any(isinstance(part, Mark) for part in turn.content):
            raise InputError(
                "the system turn holds media, but it may hold text only. "
                "Move the media to the first user turn."
            )
        if not any(isinstance(part, Mark) or part.strip() for part in turn.content):
            raise InputError(
                f"turn {number} ({role}) is empty, but a turn holds text, an image or a clip. "
                "Fill it, or leave it out."
            )
    if len(turns) == len(opening):
        raise InputError(
            f"the chat has {len(turns)} turns and none of a user, who must begin. Add a user turn."
        )
    if open_model_turn and turns[-1].role == "model":
        raise InputError(
            "the chat ends with the model's turn, so it cannot open another. "
            "Add a user turn, or give open_model_turn=False."
        )
