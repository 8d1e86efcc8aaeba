import pytest

from gemma3n.chat import Mark
from gemma3n.errors import InputError
from stages.prompts import first_filled, places_in

AUDIO = Mark.AUDIO
TWO = ["From {language} into {to}: <audio>", "Into {to}: <audio>"]


def test_the_first_prompt_whose_places_are_known_is_asked() -> None:
    assert first_filled(TWO, {"language": "Thai", "to": "Zulu"}) == ["From Thai into Zulu: ", AUDIO]
    assert first_filled(TWO, {"language": None, "to": "Zulu"}) == ["Into Zulu: ", AUDIO]
    assert first_filled([], {"to": "Zulu"}) == []


def test_what_fills_a_place_is_plain_text_and_so_are_other_braces() -> None:
    sly = "{to} <audio>"
    assert first_filled(["{x} {language} {} <audio>"], {"language": sly, "to": "Zulu"}) == [
        "{x} {to} <audio> {} ",
        AUDIO,
    ]


def test_a_place_that_nothing_fills_is_refused() -> None:
    with pytest.raises(InputError, match=r"has \{to\}, and neither .* Set to=French, for inst"):
        first_filled(TWO, {"language": "Thai", "to": None})


def test_places_are_those_of_any_prompt() -> None:
    assert places_in(TWO) == {"language", "to"}
    assert places_in(["{too} <audio>"]) == set()
