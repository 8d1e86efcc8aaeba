import random
import shutil

import numpy as np
import pytest

from pipelines.nano.split import Split, voice
from pipelines.nano.voices import Manner, pick_voice, speak


@pytest.mark.parametrize("engine", ["espeak", "flite", "kokoro"])
@pytest.mark.parametrize("side", [Split.train, Split.dev])
def test_a_voice_is_picked_from_its_side(engine: str, side: Split) -> None:
    names = {pick_voice(random.Random(seed), engine, side) for seed in range(30)}
    assert len(names) > 1
    assert {voice(name) for name in names} == {side}


@pytest.mark.parametrize("engine", ["festival", "kokoro-en", "piper"])
def test_an_engine_without_held_out_voices_trains_in_all(engine: str) -> None:
    names = {pick_voice(random.Random(seed), engine, Split.train) for seed in range(30)}
    assert {voice(name) for name in names} == {Split.train}


@pytest.mark.parametrize("name", ["espeak/en-us+f3", "flite/slt", "festival/ked"])
def test_a_program_says_the_same_every_time_and_slower_when_asked(name: str) -> None:
    if not all(map(shutil.which, ("espeak-ng", "flite", "text2wave"))):
        pytest.skip("espeak-ng, flite and festival are not installed")
    heard, rate = speak(name, "two nine", Manner(1.0, 1.0))
    again, _ = speak(name, "two nine", Manner(1.0, 1.0))
    slow, _ = speak(name, "two nine", Manner(0.7, 1.0))
    assert rate >= 8000
    assert 0.1 < np.abs(heard).max() <= 1
    np.testing.assert_array_equal(heard, again)
    assert len(slow) > 1.2 * len(heard)
