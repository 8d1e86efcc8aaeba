"""What is known of the 100 concepts -> questions about pictures, and their answers."""

import random
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.nano.clips import rng_of
from pipelines.nano.sentences import DIGITS, article, concepts

FACT_LIST = Path(__file__).parent / "facts.tsv"

# What one cannot ask "what ... is this?" of.
_VAGUE = frozenset({"thing", "sight", "fairy tale"})
EDIBLE = frozenset({"fruit", "vegetable", "food"})


@dataclass(frozen=True)
class Fact:
    """What everybody knows of a concept; None where nothing is usual."""

    kind: str
    colour: str | None
    legs: str | None
    moves: str | None  # fly, swim, drive or sail

    @property
    def nameable(self) -> bool:
        """Whether the kind is a word to ask with."""
        return self.kind not in _VAGUE


@cache
def facts() -> dict[str, Fact]:
    """Concept -> what is known of it."""
    known = {}
    for line in FACT_LIST.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            concept, kind, *rest = line.split("\t")
            colour, legs, moves = (None if value == "-" else value for value in rest)
            known[concept] = Fact(kind, colour, legs, moves)
    return known


def yes(true: bool) -> str:
    return "yes" if true else "no"


def spelt(word: str) -> str:
    """Letter by letter: "cat" -> "c a t"."""
    return " ".join(word.replace(" ", ""))


def picture_questions(lines: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """Manifest lines that ask about pictures which already have a caption.

    Args:
        lines: of pictures, each with its `concept`.
        count: how many to make.
    """
    asked = []
    for number in range(count):
        name = f"question-{number:05}"
        rng = rng_of(name)
        line = rng.choice(lines)
        ask = _ask_digit if line["concept"] in DIGITS else _ask_concept
        prompt, text = ask(line["concept"], rng)
        asked.append(
            {**line, "id": f"{name}-{line['id']}", "prompt": prompt, "text": text}
            | {"set": "questions"}
        )
    return asked


def _ask_concept(concept: str, rng: random.Random) -> tuple[str, str]:
    fact = facts()[concept]
    named = article(concept)
    right = rng.random() < 0.5
    alike = [other for other in concepts() if facts()[other].kind == fact.kind]
    others = [other for other in rng.choice((alike, concepts())) if other != concept]
    guess = named if right else article(rng.choice(others))
    choices = [
        (rng.choice(("What is this?", "What do you see?", "Name this thing.")), named),
        (f"Is this {guess}?", yes(right)),
        (f"Is this {guess}?", yes(right)),
        (f"Is this {named} or {article(rng.choice(others))}?", named),
        (rng.choice(("Spell the name of this.", "Spell what you see.")), spelt(concept)),
    ]
    if fact.nameable:
        choices += [
            (f"What {fact.kind} is this?", named),
            (f"What {fact.kind} is this?", named),
            ("What kind of thing is this?", article(fact.kind) if fact.kind != "food" else "food"),
        ]
    kinds = ("animal", "vehicle", "fruit", "building", fact.kind if fact.nameable else "animal")
    kind = rng.choice(kinds)
    if not (kind == "fruit" and fact.kind in EDIBLE - {"fruit"}):
        choices.append((f"Is this {article(kind)}?", yes(fact.kind == kind)))
    if fact.kind != "animal":
        choices.append(("Can you eat this?", yes(fact.kind in EDIBLE)))
    if fact.legs:
        choices.append(("How many legs does this animal have?", fact.legs))
    if fact.kind in ("animal", "vehicle"):
        choices.append(("Can this fly?", yes(fact.moves == "fly")))
    return rng.choice(choices)


def _ask_digit(digit: str, rng: random.Random) -> tuple[str, str]:
    value, other = DIGITS.index(digit), rng.randrange(10)
    right = rng.random() < 0.5
    guess = digit if right else DIGITS[(value + rng.randint(1, 9)) % 10]
    choices = [
        (rng.choice(("Which digit is this?", "What digit do you see?")), digit),
        ("What number is this?", digit),
        (f"Is this {article(guess)}?", yes(guess == digit)),
        ("Spell this digit.", spelt(digit)),
        (f"Is this digit greater than {DIGITS[other]}?", yes(value > other)),
    ]
    if value < 9:
        choices.append(("What comes after this digit?", DIGITS[value + 1]))
    return rng.choice(choices)
