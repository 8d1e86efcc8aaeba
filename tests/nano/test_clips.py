from pathlib import Path

import numpy as np
import pytest

from pipelines.nano.clips import RATE, Clip, implausible, join, load, rng_of, save, tidy


def _tone(seconds: float, rate: int = RATE, level: float = 0.1) -> np.ndarray[tuple[int], np.dtype]:
    samples = np.arange(round(seconds * rate))
    return (level * np.sin(2 * np.pi * 300 * samples / rate)).astype(np.float32)


def test_silence_at_the_ends_is_cut_to_a_tenth_of_a_second() -> None:
    silence = np.zeros(RATE, np.float32)
    pcm = tidy(np.concatenate([silence, _tone(0.5), silence]), RATE)
    assert len(pcm) == pytest.approx(0.7 * RATE, abs=RATE // 50)
    assert not pcm[: RATE // 10 - RATE // 50].any()


def test_a_clip_that_starts_at_once_gets_a_tenth_of_a_second_before_it() -> None:
    pcm = tidy(_tone(0.5), RATE)
    assert len(pcm) == pytest.approx(0.7 * RATE, abs=RATE // 50)
    assert not pcm[: RATE // 11].any()


@pytest.mark.parametrize("level", [0.01, 0.9, 300.0])
def test_any_level_comes_out_at_the_same_peak(level: float) -> None:
    assert abs(int(np.abs(tidy(_tone(0.3, level=level), RATE)).max()) - 19660) <= 2


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 24000])
def test_any_rate_comes_out_at_16_khz(rate: int) -> None:
    assert len(tidy(_tone(0.5, rate), rate)) == pytest.approx(0.7 * RATE, abs=RATE // 50)


def test_nothing_to_hear_is_an_empty_clip() -> None:
    assert len(tidy(np.zeros(500, np.float32), RATE)) == 0
    assert len(tidy(np.zeros(0, np.float32), RATE)) == 0


def test_parts_are_joined_with_the_gaps_asked_for() -> None:
    part = np.ones(100, np.int16)
    joined = join([part, part, part], [0.5, 0.0])
    assert len(joined) == 300 + RATE // 2
    assert joined.sum() == 300


@pytest.mark.parametrize(
    ("text", "seconds", "why"),
    [
        ("two nine three", 1.8, None),
        ("w", 0.6, None),
        ("two nine three", 13.0, "too long"),
        ("two nine three", 0.2, "text too long for its time"),
        ("two", 5.0, "text too short for its time"),
        ("two 9", 1.0, "text has other marks"),
        ("", 1.0, "text has other marks"),
    ],
)
def test_a_clip_whose_text_does_not_fit_is_refused(
    text: str, seconds: float, why: str | None
) -> None:
    assert implausible(text, seconds) == why


def test_a_saved_clip_is_read_back_and_its_line_tells_all(tmp_path: Path) -> None:
    pcm = np.arange(-800, 800, dtype=np.int16)
    line = save(tmp_path, "step", Clip("a/b", "two nine", "somebody", "a game", "a set", pcm))
    assert line == {
        "id": "a/b",
        "audio": "speech/step/a-b.wav",
        "text": "two nine",
        "set": "a set",
        "voice": "somebody",
        "source": "a game",
        "seconds": 0.1,
    }
    np.testing.assert_array_equal(load(tmp_path / line["audio"]), pcm)


def test_an_item_has_the_same_random_numbers_every_time() -> None:
    assert rng_of("espeak-0001").random() == rng_of("espeak-0001").random()
    assert rng_of("espeak-0001").random() != rng_of("espeak-0002").random()
