"""A seeded random number generator -> a sentence of the small world.

The world: digit strings, letters and spelling, the phonetic alphabet, cards, commands, telephone
prompts, dates and times, numbers, colours and objects. Text is as transcripts write it: lower case,
numbers spelt, apostrophes, no other marks.
"""

import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path

from pipelines.nano.split import Split, prompts, sentence

CONCEPT_LIST = Path(__file__).parent / "concepts.txt"


def _list(words: str) -> list[str]:
    """Words, an underscore standing for a space within one."""
    return [word.replace("_", " ") for word in words.split()]


DIGITS = _list("zero one two three four five six seven eight nine")
TEENS = _list("ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen")
TENS = _list("twenty thirty forty fifty sixty seventy eighty ninety")
LETTERS = list("abcdefghijklmnopqrstuvwxyz")
PHONETIC = _list(
    "alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november "
    "oscar papa quebec romeo sierra tango uniform victor whiskey x_ray yankee zulu"
)
ORDINALS = _list(
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
    "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth"
)
MONTHS = _list(
    "january february march april may june july august september october november december"
)
DAYS = _list("monday tuesday wednesday thursday friday saturday sunday")
COLOURS = _list("red orange yellow green blue purple pink brown black white grey silver golden")
SIZES = _list("big small large little tiny huge old new")
RANKS = _list("ace two three four five six seven eight nine ten jack queen king")
SUITS = _list("hearts clubs spades diamonds")
_VERBS = _list(
    "accept access call cancel change check delete enter erase exit forward hear leave "
    "listen_to lock make mark mute open pause play record remove repeat return_to save send "
    "skip start stop switch_to unlock use"
)
_NOUNS = _list(
    "message call caller conference extension mailbox number password recording greeting folder "
    "directory operator menu line name party option channel agent queue tone key introduction "
    "voicemail entry list account phone system service address messages"
)
_QUALITIES = _list(
    "new old urgent temporary busy unavailable current next last first main incoming forwarded "
    "private wrong valid"
)
_STATES = _list(
    "active available unavailable busy locked unlocked muted recorded saved deleted empty full "
    "complete invalid disabled enabled cancelled forwarded incorrect unknown"
)
_COUNTED = _list("messages minutes seconds hours people calls")
UNITS = _list("meters meter feet steps inches centimeters degrees seconds minutes miles yards")


class Kind(Enum):
    """What a sentence is about."""

    digits = "digits"
    letters = "letters"
    spelling = "spelling"
    phonetic = "phonetic"
    cards = "cards"
    commands = "commands"
    prompts = "prompts"
    dates = "dates"
    numbers = "numbers"
    objects = "objects"


@dataclass(frozen=True)
class Sentence:
    kind: Kind
    text: str  # as the transcript has it
    spoken: str  # as a speech synthesiser wants it: letters that are named are capitals


def draw(rng: random.Random, split: Split = Split.train, kind: Kind | None = None) -> Sentence:
    """One sentence of one side of the split.

    Args:
        rng: where all randomness comes from.
        split: train or dev; see `split.sentence`.
        kind: what about; None picks one, the likelier the more there is to say.
    """
    while True:
        chosen = kind or rng.choices(list(_SHARES), list(_SHARES.values()))[0]
        text = " ".join(_MAKERS[chosen](rng).split())
        if sentence(text) is split:
            return Sentence(chosen, text, spoken_form(text, chosen))


def spoken_form(text: str, kind: Kind) -> str:
    """The same for a speech synthesiser, which reads "a" as an article and "A" as a letter."""
    if kind in (Kind.letters, Kind.spelling):
        words = [word.upper() if len(word) == 1 else word for word in text.split()]
        return " ".join(f"{word}," if len(word) == 1 else word for word in words).rstrip(",")
    return text.replace(" a m", " A M").replace(" p m", " P M").replace("x ray", "X ray")


def say_digits(digits: str, zero: str = "zero") -> str:
    """Digit by digit: "204" -> "two zero four"; `zero` may be "oh"."""
    return " ".join(zero if digit == "0" else DIGITS[int(digit)] for digit in digits)


def say_number(number: int) -> str:
    """As a quantity: 342 -> "three hundred forty two". From 0 to 999,999,999."""
    if number < 10:
        return DIGITS[number]
    if number < 20:
        return TEENS[number - 10]
    if number < 100:
        tens, rest = TENS[number // 10 - 2], number % 10
    else:
        size, name = next(
            (size, name)
            for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred"))
            if number >= size
        )
        tens, rest = f"{say_number(number // size)} {name}", number % size
    return f"{tens} {say_number(rest)}" if rest else tens


def say_ordinal(number: int) -> str:
    """Place in an order: 21 -> "twenty first". From 1 to 99."""
    if number < 20:
        return ORDINALS[number - 1]
    tens, rest = TENS[number // 10 - 2], number % 10
    return f"{tens} {ORDINALS[rest - 1]}" if rest else f"{tens[:-1]}ieth"


def say_year(year: int) -> str:
    """As years are read: 1984 -> "nineteen eighty four", 2007 -> "two thousand seven"."""
    if 2000 <= year < 2010:
        return say_number(year)
    first, last = divmod(year, 100)
    if last == 0:
        return f"{say_number(first)} hundred"
    return f"{say_number(first)} {'oh ' if last < 10 else ''}{say_number(last)}"


def say_date(day: int, month: int) -> str:
    """Month and day: (4, 7) -> "july fourth"."""
    return f"{MONTHS[month - 1]} {say_ordinal(day)}"


def say_time(hour: int, minute: int) -> str:
    """Twelve-hour clock without half of the day: (3, 5) -> "three oh five"."""
    if minute == 0:
        return f"{say_number(hour)} o'clock"
    return f"{say_number(hour)} {'oh ' if minute < 10 else ''}{say_number(minute)}"


def article(thing: str) -> str:
    """The thing with "a" or "an" before it."""
    silent = thing.startswith(("uni", "one"))
    return f"{'an' if thing[0] in 'aeiou' and not silent else 'a'} {thing}"


@cache
def concepts() -> tuple[str, ...]:
    """The 100 things that pictures show."""
    return tuple(CONCEPT_LIST.read_text(encoding="utf-8").split("\n")[:-1])


def _digits(rng: random.Random) -> str:
    length = rng.choice((1, 2, 3, 3, 4, 4, 5, 5, 6, 7, 8))
    digits = "".join(rng.choice("0123456789") for _ in range(length))
    return say_digits(digits, rng.choice(("zero", "zero", "zero", "oh")))


def _letters(rng: random.Random) -> str:
    return " ".join(rng.choice(LETTERS) for _ in range(rng.randint(1, 5)))


def _spelling(rng: random.Random) -> str:
    pool = [*concepts(), *COLOURS, *SUITS, *MONTHS, *DAYS, *_words()]
    word = rng.choice([word for word in pool if 2 < len(word) < 8 and word.isalpha()])
    spelt = " ".join(word)
    return rng.choice((f"{word} {spelt}", spelt, f"spell {word}", f"{word} is spelt {spelt}"))


def _phonetic(rng: random.Random) -> str:
    words = [rng.choice(PHONETIC) for _ in range(rng.randint(1, 4))]
    if rng.random() < 0.3:
        words.append(_digits(rng))
    return " ".join(words)


def _cards(rng: random.Random) -> str:
    def card() -> str:
        return f"{rng.choice(RANKS)} of {rng.choice(SUITS)}"

    hand = [card() for _ in range(rng.choice((1, 1, 2, 2, 3, 4)))]
    shape = rng.random()
    if shape < 0.6:
        return " ".join(hand)
    if shape < 0.75:
        return " ".join(rng.choice(RANKS) for _ in range(rng.randint(2, 5)))
    if shape < 0.85:
        return f"{rng.choice(('draw', 'play', 'take', 'show me', 'discard'))} the {hand[0]}"
    if shape < 0.95:
        return " and ".join(hand[:2])
    return f"{rng.choice(('a pair of', 'three', 'four', 'two'))} {_plural(rng.choice(RANKS))}"


def _commands(rng: random.Random) -> str:
    side = rng.choice(("left", "right"))
    way = rng.choice(("forward", "backward", "back", "up", "down", side))
    amount = rng.choice((rng.randint(2, 10), rng.randint(2, 99), rng.choice((10, 20, 45, 90, 100))))
    unit = rng.choice(UNITS)
    things = (
        f"the {rng.choice((*concepts(), 'light', 'lights', 'radio', 'music', 'robot', 'lamp'))}"
    )
    verb = rng.choice(["go", "move", "walk", "run", "drive", "roll"])
    place = f"{rng.choice(('front', 'rear', 'side', 'top', 'bottom'))} "
    place += rng.choice(("left", "right", "center"))
    return rng.choice(
        (
            f"{verb} {way} {say_number(amount)} {unit}",
            f"{verb} {way} {say_number(amount)} {unit}",
            f"{verb} {way}",
            f"turn {side}",
            f"turn {side} {say_number(amount)} degrees",
            f"turn {rng.choice(('around', 'back', side))} and {verb} {way}",
            f"turn {rng.choice(('on', 'off'))} {things}",
            f"{rng.choice(('open', 'close', 'find', 'bring me', 'look at', 'take'))} {things}",
            f"{rng.choice(('pick up', 'put down', 'show me', 'drop', 'give me'))} {things}",
            rng.choice(("stop", "halt", "wait", "start", "stop now", "go home", "come back")),
            f"rotate {side} {say_number(amount)} degrees",
            place,
            f"{place} {rng.choice(('speaker', 'wheel', 'door', 'window'))}",
            rng.choice(("yes", "no", "okay", "cancel", "help", "repeat", "next", "previous")),
            f"set {rng.choice(('speed', 'volume', 'level', 'timer'))} to {say_number(amount)}",
            f"{rng.choice(('faster', 'slower', 'louder', 'quieter'))} please",
            f"{verb} to the {rng.choice((*concepts(), 'window', 'table', 'wall', 'kitchen'))}",
            f"{verb} {say_number(amount)} {unit} {way} and then stop",
            f"play {rng.choice(('the next song', 'some music', 'track'))} {say_number(amount)}",
            f"call {rng.choice(PHONETIC)} {_digits(rng)}",
        )
    )


def _dates(rng: random.Random) -> str:
    day, month, hour = rng.randint(1, 28), rng.randint(1, 12), rng.randint(1, 12)
    time = say_time(hour, rng.choice((0, 15, 30, 45, rng.randint(1, 59))))
    half = "" if time.endswith("o'clock") else rng.choice((" a m", " p m", ""))
    date, weekday = say_date(day, month), rng.choice(DAYS)
    year = say_year(rng.choice((rng.randint(1900, 2030), rng.randint(1800, 1999))))
    return rng.choice(
        (
            date,
            f"{date} {year}",
            f"{weekday} {date}",
            f"{weekday} {date} {year}",
            f"{time}{half}",
            f"{weekday} at {time}{half}",
            f"{date} at {time}{half}",
            f"the {say_ordinal(day)} of {MONTHS[month - 1]}",
            f"{rng.choice(('today', 'tomorrow', 'yesterday'))} at {time}{half}",
            f"{rng.choice(('today', 'tomorrow', 'yesterday'))} is {weekday}",
            f"half past {say_number(hour)}",
            f"quarter {rng.choice(('to', 'past'))} {say_number(hour)}",
            f"the time is {time}{half}",
            weekday,
            MONTHS[month - 1],
        )
    )


def _numbers(rng: random.Random) -> str:
    number = say_number(rng.randrange(10 ** rng.randint(1, 6)))
    small = rng.randint(1, 99)
    return rng.choice(
        (
            number,
            number,
            f"minus {number}",
            f"{number} dollars",
            f"{number} {rng.choice(_COUNTED)}",
            say_ordinal(small),
            f"{say_ordinal(small)} {rng.choice(('message', 'floor', 'caller', 'place', 'time'))}",
            f"number {number}",
            f"{say_number(small)} point {say_digits(str(rng.randint(0, 99)))}",
            f"{say_number(small)} percent",
            f"{say_number(small)} plus {say_number(rng.randint(1, 99))}",
        )
    )


def _objects(rng: random.Random) -> str:
    thing, other = rng.choice(concepts()), rng.choice(concepts())
    colour, size = rng.choice(COLOURS), rng.choice(SIZES)
    if thing.startswith("red "):
        colour = "red"
        thing = thing.removeprefix("red ")
    return rng.choice(
        (
            article(f"{colour} {thing}"),
            article(f"{size} {colour} {thing}"),
            article(thing),
            f"a picture of {article(thing)}",
            f"{article(thing)} and {article(other)}",
            f"the {thing} is {colour}",
            f"there is {article(f'{colour} {thing}')} and {article(other)}",
            f"i see {article(f'{size} {thing}')}",
            f"where is the {colour} {thing}",
            f"what colour is the {thing}",
            f"this is {article(thing)} not {article(other)}",
            f"the handwritten digit {rng.choice(DIGITS)}",
            f"the {thing} is {rng.choice(('on', 'under', 'behind', 'beside'))} the {other}",
        )
    )


def _prompts(rng: random.Random) -> str:
    """A telephone prompt made of parts of training prompts.

    One walks through the prompts and changes from one to another where both say the same word (a
    digit counts as any other), or frames a part with what menus say.
    """
    while True:
        words = _walk(rng) if rng.random() < 0.6 else _menu(rng).split()
        if 2 <= len(words) <= 24:
            return " ".join(words)


def _walk(rng: random.Random) -> list[str]:
    follow = _followers()
    words: list[str] = []
    said, place = rng.choice(follow[""])
    while place < len(said):
        word = said[place]
        words.append(rng.choice(DIGITS) if word in DIGITS else word)
        # Changing prompts at every word would be word salad; a third of the chances will do.
        if rng.random() < 0.35 and len(words) < 24:
            said, place = rng.choice(follow["#" if word in DIGITS else word])
        place += 1
    return words


@cache
def _followers() -> dict[str, list[tuple[list[str], int]]]:
    """Word -> (words of a training prompt, place of the word in it). A digit is "#", a start ""."""
    follow: dict[str, list[tuple[list[str], int]]] = defaultdict(list)
    for split, text in prompts().values():
        said = text.split()
        if split is Split.train and len(said) > 2:
            follow[""].append((said, 0))
            for place, word in enumerate(said):
                follow["#" if word in DIGITS else word].append((said, place))
    return follow


def _menu(rng: random.Random) -> str:
    verb = rng.choice(_VERBS)
    owner = rng.choice(["the", "this", "your", "another", "a", "the"])
    noun = rng.choice(_NOUNS)
    quality = rng.choice((*_QUALITIES, *[""] * 12))
    thing = f"{owner} {quality} {noun}"
    press = rng.choice(("press", "press", "press", "dial", "or press", "or", "enter"))
    key = rng.choice((*DIGITS, "star", "pound", "the pound key", "the star key"))
    state = rng.choice(_STATES)
    polite = rng.choice(("please", "", "thank you", "i'm sorry", "sorry", "welcome"))
    action = f"{verb} {thing}"
    where = rng.choice(("queue", "list"))
    return rng.choice(
        (
            f"{press} {key} to {action}",
            f"{press} {key} to {action}",
            f"to {action} {press} {key}",
            f"to {action}",
            f"please {action}",
            f"{thing} {rng.choice(('is', 'is now', 'is not', 'has been', 'was'))} {state}",
            f"{polite} {thing} is {state} please {action}",
            f"you have {say_number(rng.randint(1, 99))} {quality} messages",
            f"there are {say_number(rng.randint(2, 40))} {_plural(noun)} in the {where}",
            f"please enter {thing} followed by the {rng.choice(('pound', 'star', 'hash'))} key",
            f"the number you have {rng.choice(('dialed', 'entered', 'called'))} is {state}",
            f"{press} {key} if you {rng.choice(('wish', 'want'))} to {action}",
            f"you are {rng.choice(('now', 'currently', 'not'))} in {thing}",
            f"{polite} you cannot {action} at this time",
            f"{thing} {_digits(rng)}",
            f"extension {_digits(rng)} is {state}",
            f"{rng.choice(('unable to', 'you may now', 'i will'))} {action}",
            f"when you are finished {press} {key}",
            f"{polite} try again later",
            f"{polite} wait while i {action}",
        )
    )


def _plural(word: str) -> str:
    if word.endswith(("x", "ss")):
        return f"{word}es"
    if word.endswith("s"):
        return word
    return f"{word[:-1]}ies" if word.endswith(("ry", "ty")) else f"{word}s"


@cache
def _words() -> tuple[str, ...]:
    """The longer words of the training prompts."""
    said = {
        word
        for split, text in prompts().values()
        if split is Split.train
        for word in text.split()
        if len(word) > 3
    }
    return tuple(sorted(said))


_MAKERS: dict[Kind, Callable[[random.Random], str]] = {
    Kind.digits: _digits,
    Kind.letters: _letters,
    Kind.spelling: _spelling,
    Kind.phonetic: _phonetic,
    Kind.cards: _cards,
    Kind.commands: _commands,
    Kind.prompts: _prompts,
    Kind.dates: _dates,
    Kind.numbers: _numbers,
    Kind.objects: _objects,
}
_SHARES = {
    Kind.digits: 16,
    Kind.letters: 4,
    Kind.spelling: 3,
    Kind.phonetic: 4,
    Kind.cards: 9,
    Kind.commands: 15,
    Kind.prompts: 25,
    Kind.dates: 8,
    Kind.numbers: 7,
    Kind.objects: 9,
}
