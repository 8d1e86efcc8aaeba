from pathlib import Path

import numpy as np
import soundfile

from pipelines.training.clip import heard, rescaled
from pipelines.training.examples import PAUSE_S, Example, Kind, joined

RATE = 16_000


def clip(folder: Path, name: str, seconds: float, phones: str | None) -> Example:
    path = folder / f"{name}.wav"
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * RATE))
    soundfile.write(path, noise, RATE)
    return Example(name, Kind.audio, str(path), None, name, seconds, phones=phones)


def frames(phones: str | None) -> list[str]:
    pairs = (word.split(":") for word in (phones or "").split())
    return [phone for phone, length in pairs for _ in range(int(length))]


def test_joined_clips_are_heard_one_after_the_other(tmp_path: Path) -> None:
    parts = [
        clip(tmp_path, "a", 0.5, "AH:12"),
        clip(tmp_path, "b", 1.01, "B:25"),
        clip(tmp_path, "c", 0.7, "CH:17"),
    ]
    waveform, phones = heard(joined(parts), None)
    pause = round(PAUSE_S * RATE)
    assert len(waveform) == round(2.21 * RATE) + 2 * pause
    begin = round(0.5 * RATE)
    assert not waveform[begin : begin + pause].any()
    labels = frames(phones)
    for phone, middle_s in (("AH", 0.25), ("B", 0.8 + 0.5), ("CH", 2.11 + 0.35)):
        assert labels[round(middle_s * 25)] == phone
    assert labels[round(0.65 * 25)] == "SIL"


def test_an_alignment_stays_in_time_when_every_clip_changes_its_speed(tmp_path: Path) -> None:
    parts = [clip(tmp_path, str(n), 1.0, "AH:25") for n in range(6)]
    waveform, phones = heard(joined(parts), 7)
    labels = frames(phones)
    assert len(waveform) != round(7.5 * RATE)
    assert abs(len(labels) - len(waveform) / RATE * 25) <= 2
    assert labels.count("SIL") in range(5 * 6, 5 * 10)


def test_a_joined_clip_with_an_unaligned_part_has_no_alignment(tmp_path: Path) -> None:
    parts = [clip(tmp_path, "a", 0.5, "AH:12"), clip(tmp_path, "b", 0.5, None)]
    assert heard(joined(parts), None)[1] is None
    assert heard(parts[0], None)[1] == "AH:12"


def test_an_alignment_follows_the_speed_of_its_clip() -> None:
    assert rescaled("AH:4 B:6", 1.0, 0.5) == "AH:2 B:3"
    assert rescaled("AH:1 B:1 SIL:8", 1.0, 1.1) == "AH:1 B:1 SIL:9"
