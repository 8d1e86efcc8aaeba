from typing import Any

import pytest
import torch

from gemma3n.chat import Mark, parse_template
from gemma3n.errors import InputError
from stages.fuse import Fuse, FuseSettings, prompt_content
from stages.model import Load
from stages.row import Row

IMAGE, AUDIO = Mark.IMAGE, Mark.AUDIO


def test_a_row_gets_its_ids_and_embeddings_and_loses_its_soft_tokens(
    fake_model: Any, load: Load
) -> None:
    stage = Fuse(FuseSettings(prompt="Hear <audio>!"), load)
    rows = stage([Row(item="a", prompt=None, audio_tokens=[torch.zeros(1, 1)], image_tokens=[])])
    assert rows[0]["token_ids"] == [2, 5, 529, 1, 9]
    assert rows[0]["embeddings"].shape == (5, 1)
    assert not {"audio_tokens", "image_tokens"} & set(rows[0])
    assert fake_model.calls == [("fuse", ([2, 5, 529, 1, 9], 1, 0))]


def test_a_base_checkpoint_is_asked_without_a_chat_turn(fake_model: Any, load: Load) -> None:
    stage = Fuse(FuseSettings(prompt="abc", chat=False), load)
    assert stage([Row(item="a", prompt=None)])[0]["token_ids"] == [2, 3]


def test_a_prompt_that_does_not_fit_is_found_before_it_is_embedded(
    fake_model: Any, load: Load
) -> None:
    stage = Fuse(FuseSettings(prompt="Hear them."), load)
    fits = Row(item="a", prompt=None, audio_tokens=[torch.zeros(1, 1)] * 4, image_tokens=[])
    assert len(stage([fits])[0]["token_ids"]) == 7
    fake_model.calls.clear()
    long = Row(item="b", prompt=None, audio_tokens=[torch.zeros(1, 1)] * 6, image_tokens=[])
    with pytest.raises(InputError, match=r"has 9 tokens, 2 too many: the context holds 8 and"):
        stage([long])
    assert fake_model.calls == []


@pytest.mark.parametrize(
    ("template", "own", "clips", "images", "content"),
    [
        ("Say <audio> and <image>.", None, 1, 1, ["Say ", AUDIO, " and ", IMAGE, "."]),
        ("What?", None, 2, 1, [IMAGE, AUDIO, AUDIO, "What?"]),
        ("What?", None, 0, 0, ["What?"]),
        ("Say <audio>", "Who?", 1, 0, [AUDIO, "Who?"]),
        ("", "Who?", 0, 2, [IMAGE, IMAGE, "Who?"]),
        ("What?", "<audio>", 1, 0, [AUDIO, "<audio>"]),
    ],
)
def test_media_stand_at_their_marks_or_first(
    template: str, own: str | None, clips: int, images: int, content: list[str | Mark]
) -> None:
    assert prompt_content(parse_template(template), own, clips, images) == content


@pytest.mark.parametrize(
    ("template", "clips", "images", "message"),
    [
        (
            "<audio>",
            2,
            0,
            r"the prompt has 1 <audio>, but the row has 2 of them. Give one mark each",
        ),
        ("<audio>", 0, 0, r"1 <audio>, but the row has 0"),
        ("<audio>", 1, 1, r"0 <image>, but the row has 1"),
        ("<image><image>", 0, 1, r"2 <image>, but the row has 1"),
    ],
)
def test_marks_and_media_that_differ_in_number_are_refused(
    template: str, clips: int, images: int, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        prompt_content(parse_template(template), None, clips, images)


@pytest.mark.parametrize(("template", "own"), [("", None), (" ", None), ("What?", " ")])
def test_a_row_without_any_prompt_is_refused(template: str, own: str | None) -> None:
    with pytest.raises(InputError, match=r'there is no prompt.*Set prompt="\.\.\."'):
        prompt_content(parse_template(template), own, 1, 0)
