"""The small world -> questions in words and their answers, so that the decoder knows its language.

Answers are worded as transcripts and captions are: lower case, numbers spelt, no marks.
"""

import random
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.nano.clips import rng_of
from pipelines.nano.questions import EDIBLE, facts, spelt, yes
from pipelines.nano.sentences import (
    COLOURS,
    DAYS,
    DIGITS,
    LETTERS,
    MONTHS,
    PHONETIC,
    RANKS,
    SUITS,
    article,
    concepts,
    draw,
    say_date,
    say_digits,
    say_number,
    say_ordinal,
    say_time,
)
from pipelines.nano.split import Split, is_dev_sentence, prompts, sentence
from pipelines.nano.steps import Work, write_lines

_TRAIN = 20_000
_DEV = 300
_QUICK = 0.1  # of the training tasks

_OPPOSITES = (
    "big small,left right,up down,on off,open closed,yes no,new old,first last,start stop,"
    "forward backward,hot cold,day night,fast slow,loud quiet,black white,long short,front rear,"
    "top bottom,high low,in out,before after,early late,full empty,good bad,accept reject,"
    "enter leave,enabled disabled,locked unlocked,next previous,push pull"
)

# Prompt, answer, and what decides the side: tasks about the same digits or word are on one side.
Task = tuple[str, str, str]


def make_tasks(out: Path, quick: bool) -> None:
    """Write `text-train.jsonl` and `text-dev.jsonl`.

    Args:
        out: the folder of the whole recipe.
        quick: make a tenth of the training tasks.
    """
    train = Work(out, share=_QUICK if quick else 1.0).amount(_TRAIN)
    write_lines(out / "text-train.jsonl", tasks(Split.train, train))
    write_lines(out / "text-dev.jsonl", tasks(Split.dev, _DEV))


def tasks(split: Split, count: int) -> Iterator[dict[str, Any]]:
    """Manifest lines of one side; no prompt is on both, and none of dev comes twice.

    What a development recording says is no answer in training.

    Args:
        split: train or dev.
        count: how many.
    """
    asked: set[str] = set()
    number = 0
    while count:
        name = f"text-{split.value}-{number:05}"
        number += 1
        rng = rng_of(name)
        kind = rng.choices(list(_MAKERS), [share for share, _ in _MAKERS.values()])[0]
        prompt, text, about = _MAKERS[kind][1](rng)
        kept_back = is_dev_sentence(text) if split is Split.train else prompt in asked
        if sentence(about) is split and not kept_back:
            asked.add(prompt)
            count -= 1
            yield {"id": name, "prompt": prompt, "text": text, "set": f"text, {kind}"}
    if split is Split.train:
        yield from _continuations()


def _spell(rng: random.Random) -> Task:
    word = _word(rng)
    letters = spelt(word)
    return *rng.choice(
        (
            (f"Spell {word}.", letters),
            (f"Spell {word}.", letters),
            (f"How do you spell {word}?", letters),
            (f"Join the letters {letters}.", word),
            (f"What word is {letters}?", word),
            (f"What is the first letter of {word}?", word[0]),
            (f"What is the last letter of {word}?", word[-1]),
            (f"How many letters does {word} have?", say_number(len(word))),
        )
    ), letters


def _digits(rng: random.Random) -> Task:
    digits = "".join(rng.choice("0123456789") for _ in range(rng.randint(2, 8)))
    apart, said = " ".join(digits), say_digits(digits)
    return *rng.choice(
        (
            (f"What is {apart} in words?", said),
            (f"Say {digits} digit by digit.", said),
            (f"Repeat the digits {said}.", said),
            (f"Write {said} in digits.", apart),
            (f"Say {said} backwards.", say_digits(digits[::-1])),
            (f"How many digits are in {said}?", say_number(len(digits))),
            (f"What is the last digit of {said}?", DIGITS[int(digits[-1])]),
        )
    ), said


def _numbers(rng: random.Random) -> Task:
    number = rng.randrange(10 ** rng.randint(1, 5))
    first, second = rng.randint(1, 20), rng.randint(1, 20)
    small, end = rng.randint(0, 60), rng.randint(2, 7)
    up = [say_number(value) for value in range(small, small + end)]
    prompt, text = rng.choice(
        (
            (f"What is {number} in words?", say_number(number)),
            (f"What is {number} in words?", say_number(number)),
            (f"Count from {up[0]} to {up[-1]}.", " ".join(up)),
            (f"Count down from {up[-1]} to {up[0]}.", " ".join(up[::-1])),
            (f"What comes after {say_number(number)}?", say_number(number + 1)),
            (f"What comes before {say_number(number + 1)}?", say_number(number)),
            (
                f"What is {say_number(first)} plus {say_number(second)}?",
                say_number(first + second),
            ),
            (
                f"Is {say_number(first)} greater than {say_number(second)}?",
                yes(first > second),
            ),
            (f"What place is number {say_number(small + 1)}?", say_ordinal(small + 1)),
        )
    )
    return prompt, text, prompt


def _dates(rng: random.Random) -> Task:
    day, month = rng.randint(1, 27), rng.randint(1, 12)
    hour, minute = rng.randint(1, 12), rng.randint(0, 59)
    at = rng.randrange(7)
    prompt, text = rng.choice(
        (
            (f"What day comes after {DAYS[at]}?", DAYS[(at + 1) % 7]),
            (f"What day comes before {DAYS[at]}?", DAYS[at - 1]),
            (f"Today is {DAYS[at]}. What day is tomorrow?", DAYS[(at + 1) % 7]),
            (f"Today is {DAYS[at]}. What day was yesterday?", DAYS[at - 1]),
            (f"What month comes after {MONTHS[month - 1]}?", MONTHS[month % 12]),
            (f"What month comes before {MONTHS[month - 1]}?", MONTHS[month - 2]),
            (f"What is the {say_ordinal(month)} month?", MONTHS[month - 1]),
            (f"What date comes after {say_date(day, month)}?", say_date(day + 1, month)),
            (f"What date comes before {say_date(day + 1, month)}?", say_date(day, month)),
            (f"What date is {month}/{day}?", say_date(day, month)),
            (f"What time is {hour}:{minute:02}?", say_time(hour, minute)),
            (f"What time is {hour}:{minute:02}?", say_time(hour, minute)),
        )
    )
    return prompt, text, prompt


def _words(rng: random.Random) -> Task:
    pair = rng.choice(_OPPOSITES.split(",")).split()
    word, other = rng.sample(pair, 2)
    letter = rng.randrange(26)
    letters = "".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 4)))
    aloud = " ".join(PHONETIC[LETTERS.index(one)] for one in letters)
    rank, suit = rng.choice(RANKS), rng.choice(SUITS)
    prompt, text = rng.choice(
        (
            (f"What is the opposite of {word}?", other),
            (f"If it is not {word}, what is it?", other),
            (f"What letter is {PHONETIC[letter]}?", LETTERS[letter]),
            (f"What letter comes after {LETTERS[letter - 1]}?", LETTERS[letter]),
            (f"Say {' '.join(letters)} in the phonetic alphabet.", aloud),
            (f"What letters are {aloud}?", " ".join(letters)),
            (f"What suit is the {rank} of {suit}?", suit),
            (f"What rank is the {rank} of {suit}?", rank),
        )
    )
    return prompt, text, prompt


def _facts(rng: random.Random) -> Task:
    concept = rng.choice(concepts())
    fact = facts()[concept]
    named = article(concept)
    kind = article(fact.kind) if fact.kind != "food" else "food"
    other = rng.choice(("animal", "fruit", "vehicle", "building", "plant", "tool"))
    choices = [
        (f"Is {named} {article(other)}?", yes(fact.kind == other)),
        (f"What does a picture of {named} show?", named),
    ]
    if fact.nameable:
        choices += [(f"What is {named}?", kind), (f"Is {named} {kind}?", "yes")]
    if fact.colour and not concept.startswith("red "):
        choices += [
            (f"What colour is {named}?", fact.colour),
            (f"What is the colour of {named}?", fact.colour),
        ]
    if fact.legs:
        choices += [
            (f"How many legs does {named} have?", fact.legs),
            (f"How many legs has {named}?", fact.legs),
        ]
    if fact.kind in ("animal", "vehicle"):
        choices.append((f"Can {named} fly?", yes(fact.moves == "fly")))
    if fact.kind != "animal":
        choices.append((f"Can you eat {named}?", yes(fact.kind in EDIBLE)))
    prompt, text = rng.choice(choices)
    return prompt, text, prompt


def _said(rng: random.Random) -> Task:
    """Sentences as they are spoken, said again or turned round."""
    text = draw(rng, Split.dev if rng.random() < 1 / 16 else Split.train).text
    words = text.split()
    return *rng.choice(
        (
            (f"Repeat: {text}", text),
            (f"Say again: {text}", text),
            (f"What is the first word of: {text}", words[0]),
            (f"What is the last word of: {text}", words[-1]),
            (f"How many words are in: {text}", say_number(len(words))),
        )
    ), text


def _continuations() -> Iterator[dict[str, Any]]:
    """Each training prompt of the telephone, to be gone on with after one of its words."""
    for key, (split, text) in prompts().items():
        words = text.split()
        if split is Split.train and len(words) > 3:
            name = f"text-train-{key}"
            place = rng_of(name).randint(2, len(words) - 1)
            start, rest = " ".join(words[:place]), " ".join(words[place:])
            yield {"id": name, "prompt": f"Go on: {start}", "text": rest, "set": "text, prompts"}


def _word(rng: random.Random) -> str:
    """A word of the world that has from 3 to 10 letters."""
    pool = rng.choice((concepts(), COLOURS, SUITS, MONTHS, DAYS, PHONETIC, *[_prompt_words()] * 4))
    return rng.choice([word for word in pool if word.isalpha() and 3 <= len(word) <= 10])


@cache
def _prompt_words() -> tuple[str, ...]:
    """The words of the telephone's training prompts."""
    said = (text.split() for split, text in prompts().values() if split is Split.train)
    return tuple(sorted({word for words in said for word in words}))


_MAKERS: dict[str, tuple[int, Callable[[random.Random], Task]]] = {  # with their shares
    "spelling": (20, _spell),
    "digits": (15, _digits),
    "numbers": (10, _numbers),
    "dates": (10, _dates),
    "words": (10, _words),
    "facts": (15, _facts),
    "sentences": (20, _said),
}
