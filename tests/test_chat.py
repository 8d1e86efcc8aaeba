import pytest

from gemma3n.chat import Boundary, Mark, Turn, chat_layout, parse_template
from gemma3n.errors import InputError


def drawn(turns: list[Turn], open_model_turn: bool = True) -> str:
    """The layout as the reference spells it, media as their marks."""
    layout = chat_layout(turns, open_model_turn)
    return "".join(part if isinstance(part, str) else part.value for part in layout)


def test_a_template_is_split_at_its_marks() -> None:
    assert parse_template("Describe <image> in one word") == [
        "Describe ",
        Mark.IMAGE,
        " in one word",
    ]
    assert parse_template("<audio><image>") == [Mark.AUDIO, Mark.IMAGE]
    assert parse_template("No marks: <Image>, <video>, < audio>") == [
        "No marks: <Image>, <video>, < audio>"
    ]
    assert parse_template("") == []


def test_a_chat_is_laid_out_as_in_the_released_template() -> None:
    turns = [
        Turn("user", parse_template("  Describe <image> and\n\n<audio>\n")),
        Turn("model", ["A red cat, purring.\n"]),
        Turn("user", ["In one word?"]),
    ]
    assert drawn(turns) == (
        "<start_of_turn>user\nDescribe<image>and<audio><end_of_turn>\n"
        "<start_of_turn>model\nA red cat, purring.<end_of_turn>\n"
        "<start_of_turn>user\nIn one word?<end_of_turn>\n"
        "<start_of_turn>model\n"
    )


def test_a_chat_may_end_with_the_turn_of_the_model() -> None:
    turns = [Turn("user", ["Hi"]), Turn("model", ["Hello"])]
    assert drawn(turns, open_model_turn=False) == (
        "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    )


def test_a_system_turn_opens_the_first_user_turn_untrimmed() -> None:
    turns = [
        Turn("system", ["Be ", "brief. "]),
        Turn("user", [Mark.IMAGE]),
        Turn("model", ["A cat"]),
        Turn("user", ["More"]),
    ]
    assert drawn(turns) == (
        "<start_of_turn>user\nBe brief. \n\n<image><end_of_turn>\n"
        "<start_of_turn>model\nA cat<end_of_turn>\n"
        "<start_of_turn>user\nMore<end_of_turn>\n"
        "<start_of_turn>model\n"
    )


def test_marks_within_text_stay_text_in_the_layout() -> None:
    layout = chat_layout([Turn("user", ["<image><end_of_turn>"])], open_model_turn=False)
    assert layout == [Boundary.START, "user\n", "<image><end_of_turn>", Boundary.END, "\n"]


@pytest.mark.parametrize(
    ("roles", "number", "came", "due"),
    [
        (["robot"], 1, "robot", "user"),
        (["model"], 1, "model", "user"),
        (["user", "user"], 2, "user", "model"),
        (["user", "model", "model"], 3, "model", "user"),
        (["user", "system"], 2, "system", "model"),
        (["system", "system"], 2, "system", "user"),
        (["system", "model"], 2, "model", "user"),
        (["user", "assistant"], 2, "assistant", "model"),
    ],
)
def test_turns_in_another_order_are_refused(
    roles: list[str], number: int, came: str, due: str
) -> None:
    turns = [Turn(role, ["text"]) for role in roles]
    with pytest.raises(InputError) as caught:
        chat_layout(turns, open_model_turn=False)
    assert str(caught.value) == (
        f"turn {number} has role '{came}', where '{due}' must come. A chat is an optional system "
        "turn, then user and model alternately, user first. Join what one side says in a row; an "
        "assistant's role is spelt 'model'."
    )


@pytest.mark.parametrize("turns", [[], [Turn("system", ["Be brief."])]])
def test_a_chat_without_a_user_is_refused(turns: list[Turn]) -> None:
    with pytest.raises(InputError) as caught:
        chat_layout(turns, open_model_turn=True)
    assert str(caught.value) == (
        f"the chat has {len(turns)} turns and none of a user, who must begin. Add a user turn."
    )


@pytest.mark.parametrize("content", [[], [""], [" ", "\n"]])
@pytest.mark.parametrize("role", ["system", "user"])
def test_an_empty_turn_is_refused(role: str, content: list[str | Mark]) -> None:
    with pytest.raises(InputError) as caught:
        chat_layout([Turn(role, content)], open_model_turn=True)
    assert str(caught.value) == (
        f"turn 1 ({role}) is empty, but a turn holds text, an image or a clip. "
        "Fill it, or leave it out."
    )


def test_media_in_the_system_turn_are_refused() -> None:
    turns = [Turn("system", ["Look", Mark.IMAGE]), Turn("user", ["What is it?"])]
    with pytest.raises(InputError, match=r"holds media, but it may hold text only\. Move the"):
        chat_layout(turns, open_model_turn=True)


def test_two_turns_of_the_model_in_a_row_are_refused() -> None:
    turns = [Turn("user", ["Hi"]), Turn("model", ["Hello"])]
    with pytest.raises(InputError, match=r"cannot open another\. Add a user turn, or give open_"):
        chat_layout(turns, open_model_turn=True)


def test_content_given_as_one_string_is_refused() -> None:
    with pytest.raises(TypeError, match=r"'Hi <image>', but .* Give \[text\] .* or parse_template"):
        Turn("user", "Hi <image>")  # type: ignore[arg-type]
