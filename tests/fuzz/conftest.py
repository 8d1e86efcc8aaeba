"""Sample files in every common format -> files like them with bytes changed, the same each time."""

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import soundfile
from PIL import Image

Mutants = Callable[[int, int], list[Path]]
SAMPLES = Path(__file__).parents[1] / "samples"
CLIP = SAMPLES / "audio/en_allison/digits-7.wav"
PICTURE = SAMPLES / "images/noto-cow.png"


@pytest.fixture
def good_files(tmp_path: Path) -> list[Path]:
    return _seeds(tmp_path / "good")


@pytest.fixture
def broken_files(tmp_path: Path) -> Mutants:
    """Makes so many broken files, from a seed of chance."""
    return lambda count, seed: list(_mutants(tmp_path / "broken", count, seed))


def _seeds(folder: Path) -> list[Path]:
    """Good files: sound, pictures, and manifests that name some of them."""
    folder.mkdir()
    samples, rate = soundfile.read(CLIP, dtype="int16")
    for name in ("a.wav", "a.flac", "a.mp3", "a.ogg"):
        soundfile.write(folder / name, samples[:rate], rate)
    with Image.open(PICTURE) as picture:
        small = picture.convert("RGB").resize((64, 48))
    for name in ("b.png", "b.jpg", "b.webp", "b.gif", "b.tiff"):
        small.save(folder / name)
    rows = [
        {"audio": "a.wav", "prompt": "Who says “seven”?"},
        {"image": "b.png", "text": "a cow", "id": "cow", "language": "en"},
        {"prompt": "What is 2 + 2?", "n": [1, None, {"x": 1e3}]},
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "rows.jsonl").write_text(lines, encoding="utf-8")
    (folder / "rows.csv").write_text('audio,text\na.wav,"seven, yes"\na.flac,seven\n')
    return sorted(folder.iterdir())


def _mutants(folder: Path, count: int, seed: int) -> Iterator[Path]:
    """Write `count` files, of all seeds in turn, each with a few changes at random places."""
    chance = random.Random(seed)
    good = _seeds(folder)
    for number in range(count):
        origin = good[number % len(good)]
        data = bytearray(origin.read_bytes())
        for _ in range(chance.choice((1, 1, 2, 4))):
            chance.choice(_CHANGES)(chance, data)
        mutant = folder / f"{number:04d}{origin.suffix}"
        mutant.write_bytes(data)
        yield mutant


Change = Callable[[random.Random, bytearray], None]


def _span(chance: random.Random, data: bytearray) -> slice:
    """A few bytes: half of the time within the first hundred, where headers are."""
    within = min(len(data), 100) if chance.random() < 0.5 else len(data)
    at = chance.randrange(within + 1)
    return slice(at, at + chance.choice((1, 1, 2, 4, 64)))


def _flip_a_bit(chance: random.Random, data: bytearray) -> None:
    if data:  # an earlier change may have cut all
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _overwrite(chance: random.Random, data: bytearray) -> None:
    span = _span(chance, data)
    size = len(data[span])
    data[span] = chance.choice((bytes(size), b"\xff" * size, chance.randbytes(size)))


def _delete(chance: random.Random, data: bytearray) -> None:
    del data[_span(chance, data)]


def _repeat(chance: random.Random, data: bytearray) -> None:
    span = _span(chance, data)
    data[span] = data[span] * 2


def _cut(chance: random.Random, data: bytearray) -> None:
    del data[chance.randrange(len(data) + 1) :]


_CHANGES: list[Change] = [*[_flip_a_bit, _overwrite] * 2, _delete, _repeat, _cut]
