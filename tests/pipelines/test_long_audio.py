"""Long recordings, made of short ones whose texts are known: what nano hears in them, in memory."""

import json
import subprocess
import sys
from itertools import cycle, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from pipelines.scores import word_error_rate

SAMPLES = Path(__file__).parents[1] / "samples/audio"
RATE = 16_000
_PAUSE_S = 1.5


def transcribe(source: Path, out: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What nano says, and the summary, of a process of its own."""
    command = [sys.executable, "-m", "pipelines", "transcribe", str(source), "-o", str(out)]
    command += ["precision=float32", "device=cpu", "decode.max_new_tokens=60"]
    command += ["executor.batch=4"]
    subprocess.run([*command, "sink.formats=[jsonl,srt]"], check=True, capture_output=True)
    items = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    return items, json.loads((out / "summary.json").read_text())


@pytest.fixture(scope="module")
def clips() -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    read = [soundfile.read(path, dtype="float32") for path in sorted(SAMPLES.rglob("*.wav"))]
    return [clip / np.abs(clip).max() * 0.5 for clip, rate in read if rate == RATE]


def joined(clips: list[Any], seconds: float, pause_s: float, path: Path) -> None:
    """The clips over and over, until it is as long."""
    pause = np.random.default_rng(0).normal(0, 1e-4, round(pause_s * RATE))
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16") as file:
        for clip in cycle(clips):
            file.write(clip)
            file.write(pause)
            if file.tell() > seconds * RATE:
                return


@pytest.mark.slow
def test_with_pauses_each_piece_is_a_segment_and_says_much_of_what_it_says_alone(
    clips: list[Any], tmp_path: Path
) -> None:
    apart = tmp_path / "apart"
    apart.mkdir()
    for number, clip in enumerate(clips):
        soundfile.write(apart / f"{number:02d}.wav", clip, RATE)
    alone = [item["text"] for item in transcribe(apart, tmp_path / "out-apart")[0]]
    joined(clips, 60, _PAUSE_S, tmp_path / "long.wav")
    ((whole,), _) = transcribe(tmp_path / "long.wav", tmp_path / "out")
    begin = 0.0
    for segment, clip in zip(whole["segments"], cycle(clips), strict=False):
        end = begin + len(clip) / RATE
        # A little of the pauses is kept, and a clip may begin or end with some of its own.
        assert segment["start_s"] == pytest.approx(begin, abs=0.3)
        assert segment["end_s"] == pytest.approx(end, abs=0.3)
        begin = end + _PAUSE_S
    assert begin > 60
    pieces = list(islice(cycle(alone), len(whole["segments"])))
    error = word_error_rate([" ".join(pieces)], [whole["text"]])
    # With a fifth of a second more of silence, a model as small as nano changes its mind.
    assert error < 0.6, f"WER of {len(pieces)} joined pieces against the pieces apart: {error:.1%}"


@pytest.mark.slow
@pytest.mark.parametrize("pause_s", [1.0, 0.0])
def test_memory_does_not_grow_with_length_and_no_second_is_left_out(
    clips: list[Any], tmp_path: Path, pause_s: float
) -> None:
    peaks = {}
    # Four minutes are five batches: from the third on, a batch is encoded while the one before is
    # decoded, the next is read, and all code is loaded. No length after that may need more.
    for minutes in (4, 60):
        joined(clips, minutes * 60, pause_s, tmp_path / f"{minutes}.wav")
        ((item,), summary) = transcribe(tmp_path / f"{minutes}.wav", tmp_path / f"out-{minutes}")
        peaks[minutes] = summary["peak_rss_bytes"]
        times = [(one["start_s"], one["end_s"]) for one in item["segments"]]
        assert all(end - start < 13 for start, end in times)  # what a prompt of nano holds
        # What is left out is pauses, and what overlaps is told once.
        assert all(0 <= later[0] - before[1] < pause_s + 0.5 for before, later in pairwise(times))
        assert times[0][0] < 0.5
        assert times[-1][1] > minutes * 60 - 1
    assert peaks[60] < 1.1 * peaks[4], peaks
