"""Which material may train, which is for development, and which is nobody's to open.

Every writer of the recipe asks here. All rules are fixed: a drawing, a clip, a voice or a sentence
lands on the same side on every machine, whatever else is made.
"""

import re
import zlib
from enum import Enum
from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent
PROMPT_LIST = _HERE / "allison_train_keys.tsv"  # split, key, text
SENTENCE_LIST = _HERE / "dev_sentences.txt"  # what the sample recordings say

# A variant is a speaker, whatever accent it takes; kal16 is kal at another rate.
ESPEAK_HELD_OUT = frozenset(
    ["f2", "m5", "anika", "edward", "Michael", "klatt3", "steph2", "Henrique"]
)
FLITE_HELD_OUT = frozenset({"rms", "kal", "kal16"})


class Split(Enum):
    train = "train"
    dev = "dev"
    reserved = "reserved"  # neither trained on nor measured with here


def prompt(key: str) -> Split:
    """Side of one Asterisk prompt; those that the list lacks are reserved.

    Args:
        key: its file name without folder and ending; a key of the list, such as `digits/0`.
    """
    line = prompts().get(key)
    return line[0] if line else Split.reserved


@cache
def prompts() -> dict[str, tuple[Split, str]]:
    """Key -> (side, text) of the listed Asterisk prompts.

    A training prompt that says what a development prompt says is left out.
    """
    listed = {}
    for line in PROMPT_LIST.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            split, key, text = line.split("\t")
            listed[key] = (Split(split), text)
    kept_back = {text for split, text in listed.values() if split is Split.dev}
    return {
        key: (split, text)
        for key, (split, text) in listed.items()
        if split is Split.dev or text not in kept_back
    }


def game_clip(name: str) -> Split:
    """Side of one clip of Flight of the Amazon Queen.

    Args:
        name: the clip's base name in the archive, without extension.
    """
    return Split.reserved if zlib.crc32(name.upper().encode()) % 20 == 7 else Split.train


def voice(name: str) -> Split:
    """Side of one synthetic voice.

    Args:
        name: `<engine>/<voice>`, such as `flite/slt`, `espeak/en-us+f3` or `kokoro/0017`.
    """
    engine, _, own = name.partition("/")
    match engine:
        case "espeak":
            held_out = own.partition("+")[2] in ESPEAK_HELD_OUT
        case "flite":
            held_out = own in FLITE_HELD_OUT
        case "kokoro":
            held_out = zlib.crc32(own.encode()) % 10 == 3
        case _:
            held_out = False
    return Split.dev if held_out else Split.train


def sentence(text: str) -> Split:
    """Side of one sentence that the recipe makes up, in whatever voice or task it is used.

    A single word is always for training: there are too few digits, letters and colours to spare.
    """
    if is_dev_sentence(text):
        return Split.dev
    made_up = " " in text and zlib.crc32(text.encode()) % 16 == 5
    return Split.dev if made_up else Split.train


def is_dev_sentence(text: str) -> bool:
    """Whether a development prompt or a sample recording says exactly this.

    Such a sentence trains in no voice. Single words are exempt, as in `sentence`.
    """
    return " " in text and text in _dev_sentences()


@cache
def _dev_sentences() -> frozenset[str]:
    said = {text for split, text in prompts().values() if split is Split.dev}
    return frozenset(said | set(SENTENCE_LIST.read_text(encoding="utf-8").splitlines()))


def icon_style(name: str) -> Split:
    """Side of one icon set, by its name in Iconify or npm.

    EmojiOne, which is now called JoyPixels, is for development; Fluent is reserved.
    """
    plain = re.sub(r"[^a-z]", "", name.lower())
    if "fluent" in plain:
        return Split.reserved
    return Split.dev if "emojione" in plain or "joypixels" in plain else Split.train


def digit_row(row: int) -> Split:
    """Side of one row of scikit-learn's `load_digits`, counted from 0."""
    if row < 1300:
        return Split.train
    return Split.dev if row < 1400 else Split.reserved
