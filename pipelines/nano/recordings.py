"""Asterisk's telephone prompts -> clips: as recorded, cut and joined anew, digits in a row.

One voice, Allison Smith's, a quarter of an hour. A model that hears the same 400 prompts again and
again recites them; parts joined into new sentences teach it to listen.
"""

import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import av
import numpy as np

from pipelines.nano.align import Aligner
from pipelines.nano.clips import RATE, Clip, Pcm, implausible, join, rng_of, tidy
from pipelines.nano.packages import Registry, fetch
from pipelines.nano.sentences import DIGITS, LETTERS, PHONETIC
from pipelines.nano.split import Split, is_dev_sentence, prompts, sentence

VOICE = "allison"
SOURCE = "Debian asterisk-core-sounds-en-g722"
_FOLDER = "usr/share/asterisk/sounds/en_US_f_Allison"
_FADE = RATE // 200  # samples over which a cut goes silent, so that it does not click
_ROUNDS = 400  # tries a joined prompt may take before the recipe is at fault


def recorded(out: Path, split: Split) -> dict[str, Pcm]:
    """Key -> waveform of the prompts of one side, in the order of the list, as they were recorded.

    Args:
        out: the folder of the whole recipe.
        split: train or dev.
    """
    root = fetch(
        out,
        Registry.debian,
        "asterisk-core-sounds-en-g722",
        licence="CC-BY-SA-3.0",
        attribution="recorded by Allison Smith (theivrvoice.com), sponsored by Digium, Inc.",
        taken="prompts, as they are, cut and joined anew",
    )
    paths = {
        key: root / _FOLDER / f"{key}.g722" for key, (side, _) in prompts().items() if side is split
    }
    # The list has a few keys that only other languages' packages hold.
    return {key: _decode(path) for key, path in paths.items() if path.is_file()}


def plain(waves: dict[str, Pcm], label: str) -> Iterator[Clip]:
    """Each prompt as it is."""
    for key, wave in waves.items():
        yield _clip(f"allison/{key}", prompts()[key][1], _tidy(wave), label)


def digit_strings(waves: dict[str, Pcm], split: Split, count: int, label: str) -> Iterator[Clip]:
    """Strings of 2 to 8 of her digits, no string twice.

    Some keep the recordings' own silences, as telephone systems play them; some follow closely.
    """
    rng = rng_of(f"allison-digits-{split.value}")
    digits = [f"digits/{digit}" for digit in range(10)]
    done: set[str] = set()
    while len(done) < count:
        length = rng.choice((2, 3, 3, 4, 4, 5, 5, 6, 7, 8))
        keys = [rng.choice(digits) for _ in range(length)]
        if rng.random() < 0.15:
            keys = ["digits/oh" if key == "digits/0" else key for key in keys]
        text = " ".join(prompts()[key][1] for key in keys)
        if text not in done and sentence(text) is split:
            done.add(text)
            name = f"allison-digits-{split.value}-{len(done):04d}"
            yield _clip(name, text, _row(rng, [waves[key] for key in keys]), label)


def letter_strings(waves: dict[str, Pcm], count: int, label: str) -> Iterator[Clip]:
    """Her letters, phonetic words and digits in a row: "a seven k", "bravo zulu nine"."""
    by_text = {prompts()[key][1]: wave for key, wave in waves.items()}
    rng = rng_of("allison-letters")
    pools = [
        [word for word in words if word in by_text]
        for words in (LETTERS, PHONETIC, LETTERS + DIGITS, PHONETIC + DIGITS)
    ]
    for number in range(count):
        words = rng.choices(rng.choice(pools), k=rng.randint(2, 5))
        text = " ".join(words)
        if sentence(text) is Split.train:
            pcm = _row(rng, [by_text[word] for word in words])
            yield _clip(f"allison-letters-{number:04d}", text, pcm, label)


@dataclass(frozen=True)
class _Word:
    """A word of a recorded prompt and where it may be cut off, in samples."""

    text: str
    start: int
    end: int


def recombined(waves: dict[str, Pcm], count: int, label: str) -> Iterator[Clip]:
    """New prompts out of pieces of the recorded ones.

    Two prompts that share a word are crossed at it (any digit matches any other), which keeps the
    grammar; otherwise whole pieces follow one another.
    """
    aligner = Aligner()
    said: dict[str, list[_Word]] = {}
    for key, wave in waves.items():
        words = _cut(aligner, wave, prompts()[key][1])
        if words:
            said[key] = words
    places: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for key, words in said.items():
        for place, word in enumerate(words):
            places[_class(word.text)].append((key, place))
    known = {text for _, text in prompts().values()}
    done: set[str] = set()
    rng = rng_of("allison-recombined")
    for _ in range(count * _ROUNDS):
        if len(done) == count:
            return
        pieces = _cross(rng, said, places) if rng.random() < 0.75 else _follow(rng, said)
        text = " ".join(
            word.text for key, first, last in pieces for word in said[key][first : last + 1]
        )
        if (
            " " not in text
            or text in known
            or text in done
            or is_dev_sentence(text)
            or sentence(text) is Split.dev
        ):
            continue
        sounds = [_piece(waves[key], said[key], first, last) for key, first, last in pieces]
        gaps = [rng.choice((0.0, 0.0, 0.03, 0.1)) for _ in sounds[1:]]
        pcm = _tidy(join(sounds, gaps))
        if implausible(text, len(pcm) / RATE):
            continue
        done.add(text)
        yield _clip(f"allison-recombined-{len(done):04d}", text, pcm, label)
    raise AssertionError(f"{count} new prompts were wanted, only {len(done)} were found")


def _cross(
    rng: random.Random, said: dict[str, list[_Word]], places: dict[str, list[tuple[str, int]]]
) -> list[tuple[str, int, int]]:
    """(prompt, first word, last word) of pieces; each goes on where the one before was left."""
    key = rng.choice(list(said))
    first, pieces = 0, []
    for _ in range(rng.choice((1, 1, 2, 3))):
        last = rng.randrange(first, len(said[key]))
        pieces.append((key, first, last))
        # The next piece starts after the same word elsewhere.
        key, place = rng.choice(places[_class(said[key][last].text)])
        first = place + 1
        if first >= len(said[key]):
            return pieces
    end = len(said[key]) - 1
    return [*pieces, (key, first, end)]


def _follow(rng: random.Random, said: dict[str, list[_Word]]) -> list[tuple[str, int, int]]:
    """Two or three pieces of 1 to 7 words that have nothing to do with one another."""
    pieces = []
    for _ in range(rng.choice((1, 2, 2, 3))):
        key = rng.choice(list(said))
        first = rng.randrange(len(said[key]))
        pieces.append((key, first, min(len(said[key]) - 1, first + rng.randrange(7))))
    return pieces


def _class(word: str) -> str:
    return "#" if word in DIGITS else word


def _cut(aligner: Aligner, wave: Pcm, text: str) -> list[_Word]:
    """The words of one prompt, cut in the middle of pauses; none where it cannot be aligned."""
    found = aligner(wave, text)
    if found is None:
        return []
    spans = found.words
    edges = [round((a.end + b.start) / 2 * RATE) for a, b in pairwise(spans)]
    starts = [0, *edges]
    ends = [*edges, len(wave)]
    return [
        _Word(span.name.split("(")[0], start, end)
        for span, start, end in zip(spans, starts, ends, strict=True)
    ]


def _piece(wave: Pcm, words: list[_Word], first: int, last: int) -> Pcm:
    cut = wave[words[first].start : words[last].end].astype(np.float32)
    ramp = np.linspace(0.0, 1.0, min(_FADE, len(cut)), dtype=np.float32)
    cut[: len(ramp)] *= ramp
    cut[len(cut) - len(ramp) :] *= ramp[::-1]
    return cut.astype(np.int16)


def _row(rng: random.Random, waves: list[Pcm]) -> Pcm:
    """Single words one after another: as recorded, or trimmed with gaps of their own."""
    if rng.random() < 0.4:
        return _tidy(join(waves, [0.0] * (len(waves) - 1)))
    margin = RATE // 10 - RATE // 50  # leaves 0.02 s at each end of a word
    close = [_tidy(wave)[margin : -margin or None] for wave in waves]
    longest = rng.choice((0.05, 0.15, 0.4))
    return _tidy(join(close, [rng.uniform(0.0, longest) for _ in close[1:]]))


def _tidy(wave: Pcm) -> Pcm:
    return tidy(wave.astype(np.float32) / np.float32(32768), RATE)


def _clip(name: str, text: str, pcm: Pcm, label: str) -> Clip:
    return Clip(name, text, VOICE, SOURCE, label, pcm)


def _decode(path: Path) -> Pcm:
    """[samples] of a raw G.722 file, 16 kHz."""
    with av.open(str(path), format="g722") as container:
        frames = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return np.concatenate(frames).astype(np.int16)
