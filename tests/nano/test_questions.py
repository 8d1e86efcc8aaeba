from collections import Counter
from typing import Any

from pipelines.nano.questions import facts, picture_questions, spelt
from pipelines.nano.sentences import DIGITS, concepts


def lines(*shown: str) -> list[dict[str, Any]]:
    return [
        {"id": one, "image": f"{one}.png", "text": "", "set": "icons", "concept": one}
        for one in shown
    ]


def test_every_concept_has_its_facts() -> None:
    assert tuple(facts()) == concepts()


def test_what_has_legs_is_an_animal() -> None:
    legged = {concept for concept, fact in facts().items() if fact.legs}
    assert legged == {concept for concept, fact in facts().items() if fact.kind == "animal"}
    assert facts()["spider"].legs == "eight"
    assert facts()["penguin"].legs == "two"


def test_a_word_is_spelt_letter_by_letter() -> None:
    assert spelt("red apple") == "r e d a p p l e"


def test_questions_about_a_picture_have_true_answers() -> None:
    asked = {line["prompt"]: line["text"] for line in picture_questions(lines("bat"), 300)}
    assert asked["What animal is this?"] == "a bat"
    assert asked["Is this a bat?"] == "yes"
    assert asked["Can this fly?"] == "yes"
    assert asked["How many legs does this animal have?"] == "two"
    assert asked["Is this an animal?"] == "yes"
    assert {text for prompt, text in asked.items() if prompt == "Is this a cat?"} <= {"no"}


def test_questions_about_a_digit_have_true_answers() -> None:
    asked = {line["prompt"]: line["text"] for line in picture_questions(lines("nine"), 300)}
    assert asked["Which digit is this?"] == "nine"
    assert asked["Spell this digit."] == "n i n e"
    assert asked["Is this a nine?"] == "yes"
    assert asked["Is this a two?"] == "no"
    assert asked["Is this digit greater than four?"] == "yes"
    assert "What comes after this digit?" not in asked


def test_yes_and_no_are_about_as_frequent() -> None:
    answers = Counter(
        line["text"]
        for line in picture_questions(lines(*concepts(), *DIGITS), 3000)
        if line["prompt"].startswith("Is this") and " or " not in line["prompt"]
    )
    assert set(answers) == {"yes", "no"}
    assert 0.3 < answers["yes"] / answers.total() < 0.7


def test_a_question_shares_its_picture_and_has_an_id_of_its_own() -> None:
    asked = picture_questions(lines("cat", "dog"), 50)
    assert {line["image"] for line in asked} == {"cat.png", "dog.png"}
    assert len({line["id"] for line in asked}) == 50
    assert {line["set"] for line in asked} == {"questions"}
