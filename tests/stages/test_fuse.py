import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from gemma3n.chat import Mark, Turn, parse_template
from gemma3n.errors import InputError, SettingsError
from stages.fuse import Fuse, FuseSettings, prompt_content, spread
from stages.model import Load
from stages.row import Row, light_row

IMAGE, AUDIO = Mark.IMAGE, Mark.AUDIO
HEAR, READ = "Hear <audio>.", "Read <image>!"  # 5 and 6 letters before the mark
PROMPTS = {"hear": ["In {language}, hear <audio>.", HEAR], "read": [READ]}


def row_of(clips: int = 0, images: int = 0, **more: Any) -> Row:
    soft = Row(
        audio_tokens=[torch.zeros(1, 1)] * clips,
        image_tokens=[torch.zeros(1, 1)] * images,
        audio_parts=["a"] * clips,
        image_parts=["i"] * images,
    )
    return light_row("a") | soft | Row(**more)  # type: ignore[typeddict-item]


def test_a_row_gets_its_ids_and_embeddings_and_loses_its_soft_tokens(
    fake_model: Any, load: Load
) -> None:
    stage = Fuse(FuseSettings(prompt="Hear <audio>!"), load)
    rows = stage([row_of(clips=1)])
    assert rows[0]["token_ids"] == [2, 5, 529, 1, 9]
    assert rows[0]["embeddings"].shape == (5, 1)
    assert not {"audio_tokens", "image_tokens"} & set(rows[0])
    assert fake_model.calls == [("fuse", ([2, 5, 529, 1, 9], 1, 0))]


def test_a_base_checkpoint_is_asked_without_a_chat_turn(fake_model: Any, load: Load) -> None:
    stage = Fuse(FuseSettings(prompt="abc", chat=False), load)
    assert stage([row_of()])[0]["token_ids"] == [2, 3]


def test_a_prompt_that_does_not_fit_is_found_before_it_is_embedded(
    fake_model: Any, load: Load
) -> None:
    stage = Fuse(FuseSettings(prompt="Hear them."), load)
    fits = row_of(clips=4)
    assert len(stage([fits])[0]["token_ids"]) == 7
    fake_model.calls.clear()
    long = row_of(clips=6)
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


# Tasks and languages


def asked(settings: FuseSettings, load: Load, row: Row) -> list[str | Mark]:
    """What a row is asked."""
    (turn,) = Fuse(settings, load)._turns(row, len(row["audio_tokens"]), len(row["image_tokens"]))
    return turn.content


@pytest.mark.usefixtures("fake_model")
def test_a_row_is_asked_its_own_prompt_then_its_own_task_then_what_the_job_asks(load: Load) -> None:
    by_task = FuseSettings(task="hear", prompts=PROMPTS)
    by_prompt = FuseSettings(prompt="Say <audio>", task="hear", prompts=PROMPTS)
    assert asked(by_task, load, row_of(1)) == ["Hear ", AUDIO, "."]
    assert asked(by_prompt, load, row_of(1)) == ["Say ", AUDIO]
    assert asked(by_prompt, load, row_of(0, 1, task="read")) == ["Read ", IMAGE, "!"]
    assert asked(by_prompt, load, row_of(1, task="read", prompt="Who?")) == [AUDIO, "Who?"]


@pytest.mark.usefixtures("fake_model")
def test_a_language_is_the_rows_own_or_the_jobs_and_without_any_none_is_asked_for(
    load: Load,
) -> None:
    one, other = FuseSettings(task="hear", prompts=PROMPTS), FuseSettings("", "hear", PROMPTS, "fr")
    assert asked(one, load, row_of(1)) == ["Hear ", AUDIO, "."]
    assert asked(one, load, row_of(1, language="de")) == ["In German, hear ", AUDIO, "."]
    assert asked(other, load, row_of(1)) == ["In French, hear ", AUDIO, "."]
    assert asked(other, load, row_of(1, language="de")) == ["In German, hear ", AUDIO, "."]
    # Nobody asks which language a picture is in.
    assert asked(other, load, row_of(0, 1, task="read", language="?")) == ["Read ", IMAGE, "!"]


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"task": "here"}, "task 'here' is none of this job's; accepted are hear, read. Correct"),
        ({"task": "here", "prompt": "Who?"}, "task 'here' is none"),
        ({"language": "Frnch"}, r"language 'Frnch' is not known. Did you mean French\?"),
    ],
)
def test_a_task_or_a_language_that_nobody_knows_costs_its_row(
    load: Load, row: dict[str, Any], why: str
) -> None:
    with pytest.raises(InputError, match=why):
        asked(FuseSettings(task="hear", prompts=PROMPTS), load, row_of(1, **row))


def test_a_checkpoint_with_one_language_is_never_asked_for_one(fake_model: Any, load: Load) -> None:
    fake_model.config = replace(fake_model.config, raw={"languages": ["en"]})
    for settings in (FuseSettings("", "hear", PROMPTS), FuseSettings("", "hear", PROMPTS, "fr")):
        assert asked(settings, load, row_of(1, language="en")) == ["Hear ", AUDIO, "."]


@pytest.mark.parametrize("name", ["language", "to"])
def test_languages_of_a_job_are_checked_and_spelt_out(name: str) -> None:
    assert getattr(FuseSettings(**{name: "pt-BR"}), name) == "Portuguese"  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=f"fuse.{name}: language 'Itallian' is not known"):
        FuseSettings(**{name: "Itallian"})  # type: ignore[arg-type]


# Chats


def chat(*turns: tuple[str, Any]) -> str:
    return json.dumps([{"role": role, "content": content} for role, content in turns])


def test_a_chat_is_asked_as_it_is_whatever_the_job_asks(fake_model: Any, load: Load) -> None:
    turns = chat(
        ("user", [{"type": "audio"}, {"type": "text", "text": "Who?"}]),
        ("assistant", "Ann."),
        ("user", [{"type": "image"}]),
    )
    (row,) = Fuse(FuseSettings(prompt="no"), load)([row_of(1, 1, turns=turns)])
    assert row["token_ids"] == [2, 529, 4, 4, 513, 9]


def test_media_without_marks_come_first_in_the_last_turn(fake_model: Any, load: Load) -> None:
    turns = chat(("user", "Hi!"), ("model", "Hello!"), ("user", "Who?"))
    (row,) = Fuse(FuseSettings(), load)([row_of(1, turns=turns)])
    assert row["token_ids"] == [2, 3, 6, 529, 4, 9]


@pytest.mark.usefixtures("fake_model")
@pytest.mark.parametrize(
    ("chat_asked", "clips", "why"),
    [
        (True, 2, "the prompt has 1 <audio>, but the row has 2"),
        (False, 1, "the row is a chat, but fuse.chat=false"),
    ],
)
def test_a_chat_that_does_not_fit_the_row_or_the_job_is_refused(
    load: Load, chat_asked: bool, clips: int, why: str
) -> None:
    turns = chat(("user", [{"type": "audio"}]))
    with pytest.raises(InputError, match=why):
        Fuse(FuseSettings(chat=chat_asked), load)([row_of(clips, turns=turns)])


def test_a_mark_stands_for_all_clips_and_frames_of_its_file(
    fake_model: Any, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake_model.config.text, "max_position_embeddings", 99)
    row = light_row("a") | Row(
        audio_tokens=[torch.full((1, 1), float(n)) for n in range(5)],
        image_tokens=[torch.zeros(1, 1)] * 4,
        audio_parts=["aa", "a"],
        image_parts=["i", "iiaia"],
    )
    stage = Fuse(FuseSettings(prompt="<image>1<audio>22<image>333<audio>", chat=False), load)
    (made,) = stage([row])
    i, a = 513, 529
    assert made["token_ids"] == [2, i, 1, a, a, 2, i, i, a, i, a, 3, a]


def test_clips_follow_the_order_of_their_marks() -> None:
    turns = [Turn("user", [IMAGE, AUDIO]), Turn("user", [AUDIO])]
    spread_turns, order = spread(turns, ["aa", "a"], ["ia"])
    assert [turn.content for turn in spread_turns] == [[IMAGE, AUDIO, AUDIO, AUDIO], [AUDIO]]
    assert order == [3, 0, 1, 2]
