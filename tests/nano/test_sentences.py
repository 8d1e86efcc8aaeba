import random
import re

import pytest

from pipelines.nano import sentences
from pipelines.nano.sentences import Kind, draw
from pipelines.nano.split import Split, sentence


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("side", [Split.train, Split.dev])
def test_a_sentence_is_lower_case_words_of_its_side(kind: Kind, side: Split) -> None:
    for seed in range(40):
        said = draw(random.Random(seed), side, kind)
        assert said.kind is kind
        assert re.fullmatch(r"[a-z']+( [a-z']+)*", said.text), said.text
        assert sentence(said.text) is side


def test_the_same_random_numbers_give_the_same_sentence() -> None:
    assert draw(random.Random(5)) == draw(random.Random(5))


def test_every_kind_is_drawn_when_none_is_asked_for() -> None:
    rng = random.Random(1)
    assert {draw(rng).kind for _ in range(400)} == set(Kind)


def test_a_named_letter_is_spoken_as_a_letter() -> None:
    assert sentences.spoken_form("a b", Kind.letters) == "A, B"
    assert sentences.spoken_form("spell cab", Kind.spelling) == "spell cab"
    assert sentences.spoken_form("a red apple", Kind.objects) == "a red apple"
    assert sentences.spoken_form("ten a m", Kind.dates) == "ten A M"


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (10, "ten"),
        (19, "nineteen"),
        (20, "twenty"),
        (42, "forty two"),
        (100, "one hundred"),
        (342, "three hundred forty two"),
        (1000, "one thousand"),
        (12_005, "twelve thousand five"),
        (999_999_999, "nine hundred ninety nine million nine hundred ninety nine thousand nine"
         " hundred ninety nine"),
    ],
)  # fmt: skip
def test_numbers_are_spelt(number: int, words: str) -> None:
    assert sentences.say_number(number) == words


@pytest.mark.parametrize(
    ("number", "words"),
    [(1, "first"), (12, "twelfth"), (20, "twentieth"), (21, "twenty first"), (90, "ninetieth")],
)
def test_ordinals_are_spelt(number: int, words: str) -> None:
    assert sentences.say_ordinal(number) == words


@pytest.mark.parametrize(
    ("year", "words"),
    [
        (1900, "nineteen hundred"),
        (1905, "nineteen oh five"),
        (1984, "nineteen eighty four"),
        (2000, "two thousand"),
        (2007, "two thousand seven"),
        (2024, "twenty twenty four"),
    ],
)
def test_years_are_read_in_two_halves(year: int, words: str) -> None:
    assert sentences.say_year(year) == words


def test_dates_times_and_digits_are_spelt() -> None:
    assert sentences.say_date(4, 7) == "july fourth"
    assert sentences.say_time(3, 0) == "three o'clock"
    assert sentences.say_time(3, 5) == "three oh five"
    assert sentences.say_time(12, 45) == "twelve forty five"
    assert sentences.say_digits("204") == "two zero four"
    assert sentences.say_digits("204", zero="oh") == "two oh four"


def test_articles_go_by_sound() -> None:
    things = ("apple", "red apple", "hour glass", "unicorn", "owl")
    assert [sentences.article(thing) for thing in things[:2]] == ["an apple", "a red apple"]
    assert sentences.article("unicorn") == "a unicorn"
    assert sentences.article("owl") == "an owl"


def test_there_are_a_hundred_concepts() -> None:
    assert len(set(sentences.concepts())) == len(sentences.concepts()) == 100


def test_no_development_prompt_is_walked_into() -> None:
    train = {draw(random.Random(seed), Split.train, Kind.prompts).text for seed in range(300)}
    assert len(train) > 250
    assert not any(sentence(text) is Split.dev for text in train)
