"""A sentence and a voice's name -> speech: espeak-ng, flite and festival; and who speaks."""

import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

from pipelines.nano.clips import Wave
from pipelines.nano.split import Split, voice

# Whispers, croaks and effects of espeak-ng's own list are left out.
_ESPEAK_VARIANTS = [
    "Alex",
    "Alicia",
    "Andrea",
    "Andy",
    "Annie",
    "AnxiousAndy",
    "Denis",
    "Diogo",
    "Gene",
    "Gene2",
    "Henrique",
    "Hugo",
    "Jacky",
    "Lee",
    "Marco",
    "Mario",
    "Michael",
    "Mike",
    "Nguyen",
    "RicishayMax",
    "Storm",
    "Tweaky",
    "adam",
    "anika",
    "announcer",
    "antonio",
    "aunty",
    "belinda",
    "benjamin",
    "boris",
    "caleb",
    "david",
    "ed",
    "edward",
    "edward2",
    "f1",
    "f2",
    "f3",
    "f4",
    "f5",
    "fast",
    "grandma",
    "grandpa",
    "gustave",
    "iven",
    "iven2",
    "iven3",
    "iven4",
    "john",
    "kaukovalta",
    "klatt",
    "klatt2",
    "klatt3",
    "klatt4",
    "klatt5",
    "klatt6",
    "linda",
    "m1",
    "m2",
    "m3",
    "m4",
    "m5",
    "m6",
    "m7",
    "m8",
    "marcelo",
    "max",
    "michel",
    "miguel",
    "norbert",
    "pablo",
    "paul",
    "pedro",
    "quincy",
    "rob",
    "robert",
    "sandro",
    "shelby",
    "steph",
    "steph2",
    "steph3",
    "travis",
    "victor",
    "zac",
]
_ESPEAK_ACCENTS = {
    "en-us": 12,
    "en-gb": 3,
    "en-gb-scotland": 1,
    "en-gb-x-rp": 2,
    "en-gb-x-gbclan": 1,
    "en-gb-x-gbcwmd": 1,
    "en-029": 1,
    "en-us-nyc": 2,
}
_KOKORO_BLENDS = 500
_FLITE_VOICES = ("slt", "awb", "rms", "kal16", "kal")
_FESTIVAL_VOICES = {"ked": "ked_diphone", "slt-hts": "cmu_us_slt_arctic_hts"}


@dataclass(frozen=True)
class Manner:
    """How something is said."""

    rate: float  # times the voice's own
    pitch: float  # times the voice's own


def manner(rng: random.Random) -> Manner:
    return Manner(rate=rng.uniform(0.75, 1.3), pitch=rng.uniform(0.75, 1.3))


def pick_voice(rng: random.Random, engine: str, split: Split) -> str:
    """The name of a voice of one side of the split: `espeak/en-us+f3`, `flite/slt`."""
    while True:
        if engine == "piper":
            name = "piper/joe"
        elif engine in ("kokoro", "kokoro-en"):
            name = f"{engine}/{rng.randrange(_KOKORO_BLENDS):04d}"
        elif engine == "flite":
            name = f"flite/{rng.choice(_FLITE_VOICES)}"
        elif engine == "festival":
            name = f"festival/{rng.choice(list(_FESTIVAL_VOICES))}"
        else:
            accent = rng.choices(list(_ESPEAK_ACCENTS), list(_ESPEAK_ACCENTS.values()))[0]
            name = f"espeak/{accent}+{rng.choice(_ESPEAK_VARIANTS)}"
        if voice(name) is split:
            return name


def speak(name: str, spoken: str, how: Manner) -> tuple[Wave, int]:
    """Say something.

    Args:
        name: of the voice, engine included.
        spoken: the words as `Sentence.spoken` has them.
        how: rate and pitch.

    Returns:
        [samples], -1..1, and their rate in Hz.
    """
    engine, _, own = name.partition("/")
    says = {"flite": _flite, "festival": _festival, "espeak": _espeak}[engine]
    return says(own, spoken, how)


def _espeak(own: str, spoken: str, how: Manner) -> tuple[Wave, int]:
    command = ["espeak-ng", "-v", own, "-s", str(round(160 * how.rate))]
    command += ["-p", str(round(50 * how.pitch)), "--stdout", spoken]
    heard = subprocess.run(command, capture_output=True, check=True).stdout
    # A stream has no length to put into its header of 44 bytes; the rate is in it.
    rate = int.from_bytes(heard[24:28], "little")
    wave = np.frombuffer(heard[44:], "<i2").astype(np.float32) / np.float32(32768)
    return wave, rate


def _flite(own: str, spoken: str, how: Manner) -> tuple[Wave, int]:
    command = ["flite", "-voice", own, "--setf", f"duration_stretch={1 / how.rate:.3f}"]
    if own == "slt":  # the others' own pitch is not in their settings
        command += ["--setf", f"int_f0_target_mean={170 * how.pitch:.0f}"]
    return _written([*command, "-t", spoken])


def _festival(own: str, spoken: str, how: Manner) -> tuple[Wave, int]:
    # What a statistical voice learned of rate and pitch is not in its settings: ked alone obeys.
    f0 = f"(target_f0_mean {105 * how.pitch:.0f}) (target_f0_std 15)"
    command = ["text2wave"]
    for setting in (
        f"(voice_{_FESTIVAL_VOICES[own]})",
        f"(Parameter.set 'Duration_Stretch {1.1 / how.rate:.3f})",
        f"(set! int_lr_params '({f0} (model_f0_mean 170) (model_f0_std 34)))",
    ):
        command += ["-eval", setting]
    return _written(command, spoken)


def _written(command: list[str], spoken: str | None = None) -> tuple[Wave, int]:
    """What a program writes to the file that it is given with `-o`; it reads what is to be said."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "said.wav"
        subprocess.run([*command, "-o", str(path)], input=spoken, text=True, check=True)
        wave, rate = soundfile.read(path, dtype="float32")
    return np.asarray(wave, np.float32), int(rate)
