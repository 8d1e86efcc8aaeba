"""Packages -> the speech manifests: prompts, a voiced game, synthetic voices, and phones for them.

`steps` lists the parts in the order in which training needs them; `gather` joins what is done into
`speech-train.jsonl` and `speech-dev.jsonl`, so training may begin before the slow voices are in.
"""

import io
import random
import subprocess
import wave
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipelines.nano import neural, recordings, voices
from pipelines.nano.align import Aligner
from pipelines.nano.clips import RATE, Clip, implausible, load, rng_of, save, tidy
from pipelines.nano.game import Archive, lines
from pipelines.nano.packages import Registry, Source, fetch
from pipelines.nano.sentences import Kind, draw
from pipelines.nano.split import Split, prompts
from pipelines.nano.steps import Step, Work, read_lines, spread, stamp, write_lines

Lines = Iterator[dict[str, Any] | str]

PROMPT = "prompts, seen speaker"
GAME = "game, a large cast"
SYNTHETIC = "synthetic voices"
# Sets for development, named as in the samples.
UNSEEN_PROMPT = "seen speaker, unseen sentence"
DIGITS_SEEN = "digit strings, seen speaker"
DIGITS_SYNTHETIC = "digit strings, synthetic voices never heard"
OTHER_SYNTHETIC = "synthetic voices never heard"
PEOPLE = "people never heard"

# How often a clip is drawn. The fifteen minutes of prompts would be 1.5 % of a pass; twice
# that is far below the 15 % at which the decoder recites. The game's open vocabulary is beyond this
# model: its cast is there for its voices.
_SET_WEIGHTS = {PROMPT: 2.0, GAME: 0.5}
_NEURAL = ("kokoro", "kokoro-en", "piper")
_ENGINE_WEIGHTS = dict.fromkeys(_NEURAL, 2.0)  # nearest to people
_SHARD, _SHARDS = 400, 6  # clips a step of a slow voice; such steps for each
_BUNCH = 40  # clips that one loading of a neural voice says
_FROM_GAME = 0.2  # of what a neural voice says; open vocabulary in other voices than the cast's
_CARDS = {"001": "ten of clubs", "004": "five five"}


def programs() -> list[Source]:
    """The installed programs that speak."""
    made = {
        "espeak-ng": ("GPL-3 program, what it says is free", "the espeak-ng project"),
        "flite": ("BSD-like", "Carnegie Mellon University"),
        "festival": ("BSD-like", "University of Edinburgh, Carnegie Mellon University"),
        "festvox-kdlpc16k": ("BSD-like", "University of Edinburgh"),
        "festvox-us-slt-hts": ("BSD-like", "Carnegie Mellon University"),
    }
    return [
        Source("debian", name, _installed(name), licence, maker, "synthetic speech")
        for name, (licence, maker) in made.items()
    ]


def _installed(name: str) -> str:
    """Version of a Debian package."""
    command = ["dpkg-query", "--show", "--showformat=${Version}", name]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def steps(work: Work) -> list[Step]:
    """Every part, in order. A share of the whole has one step of the slow voices only."""
    train = [
        Step("allison-prompts", _prompts),
        Step("allison-digits", _digits),
        Step("allison-letters", _letters),
        Step("allison-recombined", _recombined),
        Step("game", _game),
        _saying("espeak", "espeak", 0, 6000),
        _saying("flite", "flite", 0, 1600),
        _saying("festival", "festival", 0, 1200),
    ]
    dev = [
        Step("dev-prompts", _dev_prompts),
        Step("dev-digits", _dev_digits),
        Step("dev-people", _dev_people),
        Step("dev-espeak", partial(_dev_synthetic, engine="espeak")),
        Step("dev-flite", partial(_dev_synthetic, engine="flite")),
    ]
    shards = range(_SHARDS if work.share == 1 else 1)
    slow = [
        _saying("piper", "piper", 0, 900),
        Step("dev-kokoro", partial(_dev_synthetic, engine="kokoro")),
        *(
            _saying(f"{engine}-{n:02d}", engine, n * _SHARD, _SHARD)
            for n in shards
            for engine in ("kokoro-en", "kokoro")
        ),
    ]
    later = [part for step in slow for part in (step, *_phones_of([step]))]
    return [*train, *dev, *_phones_of(train), *later]


def _saying(name: str, engine: str, first: int, count: int) -> Step:
    return Step(name, partial(_synthetic, step=name, engine=engine, first=first, count=count))


def _phones_of(made: list[Step]) -> list[Step]:
    return [
        Step(f"phones-{step.name}", partial(_phones, of=step.name))
        for step in made
        if not step.name.startswith("dev-")
    ]


def gather(work: Work) -> None:
    """Join the lines of all finished steps into the two manifests."""
    train: list[dict[str, Any]] = []
    dev: list[dict[str, Any]] = []
    for step in steps(work):
        if step.name.startswith("phones-"):
            continue
        found = read_lines(stamp(work, step.name))
        phones = {
            line["id"]: line["phones"] for line in read_lines(stamp(work, f"phones-{step.name}"))
        }
        for line in found:
            if line["id"] in phones:
                line["phones"] = phones[line["id"]]
            by_engine = _ENGINE_WEIGHTS.get(line["source"], 1.0)
            line["weight"] = _SET_WEIGHTS.get(line["set"], by_engine)
            (dev if step.name.startswith("dev-") else train).append(line)
    write_lines(work.out / "speech-train.jsonl", train)
    write_lines(work.out / "speech-dev.jsonl", dev)


def _kept(work: Work, step: str, clips: Iterable[Clip]) -> Lines:
    """Write the clips that can train; the others give their reason."""
    for clip in clips:
        why = implausible(clip.text, len(clip.pcm) / RATE)
        yield why or save(work.out, step, clip)


def _prompts(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.train)
    yield from _kept(work, "allison-prompts", recordings.plain(waves, PROMPT))


def _digits(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.train)
    clips = recordings.digit_strings(waves, Split.train, work.amount(900), "digits, seen speaker")
    yield from _kept(work, "allison-digits", clips)


def _letters(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.train)
    clips = recordings.letter_strings(waves, work.amount(450), "letters, seen speaker")
    yield from _kept(work, "allison-letters", clips)


def _recombined(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.train)
    clips = recordings.recombined(waves, work.amount(2000), "prompts joined anew")
    yield from _kept(work, "allison-recombined", clips)


def _game(work: Work) -> Lines:
    archive = Archive(_game_file(work))
    found = lines(archive)
    if work.share < 1:
        found = found[:: round(1 / work.share)]

    def clips() -> Iterator[Clip]:
        for line in found:
            heard, rate = soundfile.read(
                io.BytesIO(archive.read(f"{line.clip}.SB")), dtype="float32"
            )
            pcm = tidy(heard if heard.ndim == 1 else heard.mean(axis=1), rate)
            source = "Debian flight-of-the-amazon-queen"
            yield Clip(f"game/{line.clip}", line.text, line.speaker, source, GAME, pcm)

    yield from _kept(work, "game", clips())


def _game_file(work: Work) -> Path:
    root = fetch(
        work.out,
        Registry.debian,
        "flight-of-the-amazon-queen",
        licence="free licence of Debian main: copying and marked changes allowed, not to be sold",
        attribution="John Passfield, Steve Stamatiadis, Interactive Binary Illusions",
        taken="voice clips with their lines",
    )
    return next(root.glob("usr/share/scummvm/*/queen.1c"))


def _synthetic(work: Work, step: str, engine: str, first: int, count: int) -> Lines:
    names = [f"{engine}-{number:04d}" for number in range(first, first + work.amount(count))]
    task = _Task(work.out, engine, Split.train, SYNTHETIC, tuple(_game_texts(work)))
    yield from _kept(work, step, _say_all(work, task, names))


@dataclass(frozen=True)
class _Task:
    """What one engine is to say."""

    out: Path
    engine: str
    split: Split
    label: str
    texts: tuple[str, ...]  # the game's: said by neural voices, kept out of development
    digits: bool | None = None  # only strings of digits, or none; None leaves it to chance


def _say_all(work: Work, task: _Task, names: list[str]) -> Iterator[Clip]:
    bunches = [names[first : first + _BUNCH] for first in range(0, len(names), _BUNCH)]
    for clips in spread(work, partial(_say_bunch, task), bunches):
        yield from clips


def _say_bunch(task: _Task, names: list[str]) -> list[Clip]:
    speak = voices.speak
    if task.engine in _NEURAL:
        model = neural.Piper if task.engine == "piper" else neural.Kokoro
        speak = model(task.out, zlib.crc32(names[0].encode())).speak
    clips = []
    for name in names:
        rng = rng_of(name)
        text, spoken = _words(task, rng)
        who, how = voices.pick_voice(rng, task.engine, task.split), voices.manner(rng)
        pcm = tidy(*speak(who, spoken, how))
        clips.append(Clip(name, text, who, task.engine, task.label, pcm))
    return clips


def _words(task: _Task, rng: random.Random) -> tuple[str, str]:
    """A sentence as written and as spoken."""
    if task.engine in _NEURAL and task.split is Split.train and rng.random() < _FROM_GAME:
        text = rng.choice(task.texts)
        return text, text
    kind = Kind.digits if task.digits else None
    while True:
        said = draw(rng, task.split, kind)
        fits = task.digits is None or task.digits is (said.kind is Kind.digits)
        if task.split is Split.train or (fits and said.text not in _taken(task.texts)):
            return said.text, said.spoken


@cache
def _taken(texts: tuple[str, ...]) -> frozenset[str]:
    """What the training prompts and the game say: words drawn by chance may say the same."""
    said = {text for side, text in prompts().values() if side is Split.train}
    return frozenset(said | set(texts))


def _game_texts(work: Work) -> list[str]:
    return [line["text"] for line in read_lines(stamp(work, "game"))]


def _dev_prompts(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.dev)
    # Long ones stay: a set for measuring is not narrowed.
    for clip in recordings.plain(waves, UNSEEN_PROMPT):
        yield save(work.out, "dev-prompts", clip)


def _dev_digits(work: Work) -> Lines:
    waves = recordings.recorded(work.out, Split.train)
    clips = recordings.digit_strings(waves, Split.dev, work.amount(300), DIGITS_SEEN)
    yield from _kept(work, "dev-digits", clips)


def _dev_people(work: Work) -> Lines:
    root = fetch(
        work.out,
        Registry.debian,
        "pocketsphinx-testdata",
        licence="BSD-2-Clause",
        attribution="Carnegie Mellon University, Alpha Cephei Inc.",
        taken="two recordings of people naming cards, for development only",
    )
    for name, text in _CARDS.items():
        with wave.open(str(root / f"usr/share/pocketsphinx/test/data/cards/{name}.wav")) as file:
            pcm = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)
        source = "Debian pocketsphinx-testdata"
        yield save(
            work.out, "dev-people", Clip(f"cards/{name}", text, "cards", source, PEOPLE, pcm)
        )


def _dev_synthetic(work: Work, engine: str) -> Lines:
    """As many digit strings as other sentences, none of which trains."""
    for digits, label in ((True, DIGITS_SYNTHETIC), (False, OTHER_SYNTHETIC)):
        topic = "digits" if digits else "other"
        names = [f"dev-{engine}-{topic}-{number:03d}" for number in range(work.amount(100))]
        texts = tuple(_game_texts(work))
        task = _Task(work.out, engine, Split.dev, label, texts, digits)
        for clip in _say_all(work, task, names):
            yield save(work.out, f"dev-{engine}", clip)


def _phones(work: Work, of: str) -> Lines:
    """Phones of the clips of one step: lines of `id` and `phones`."""
    found = read_lines(stamp(work, of))
    items = [(str(work.out / line["audio"]), line["text"]) for line in found]
    for line, phones in zip(found, spread(work, _align, items), strict=True):
        yield {"id": line["id"], "phones": phones} if phones else "not aligned"


def _align(item: tuple[str, str]) -> str | None:
    path, text = item
    pcm = load(Path(path))
    found = _aligner()(pcm, text)
    return found.labels(len(pcm)) if found else None


@cache
def _aligner() -> Aligner:
    return Aligner()
