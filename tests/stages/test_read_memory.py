"""Peak memory of reading, each length in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from stages.audio import RATE

_MEASURE = """
import resource, sys
from stages.model import Load
from stages.read import Read
from stages.row import light_row
from stages.source import SourceSettings
read = Read(SourceSettings(path=["."], split=True), Load(folder="nano"))
rows = sum(1 for _ in read.expand(light_row("a", audio_paths=[sys.argv[1]])))
print(rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_an_hour_takes_no_more_memory_than_a_minute(tmp_path: Path) -> None:
    peaks = {}
    for minutes in (1, 60):
        file = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(file, "w", RATE, 1) as sound:
            rng = np.random.default_rng(0)
            for second in range(60 * minutes):
                loud = 0.1 if second % 5 else 0.001
                sound.write(rng.normal(0, loud, RATE).astype(np.float32))
        done = subprocess.run(
            [sys.executable, "-c", _MEASURE, str(file)], capture_output=True, text=True, check=True
        )
        rows, peak = map(int, done.stdout.split())
        assert rows > 2 * minutes
        peaks[minutes] = peak
    assert peaks[60] < 1.1 * peaks[1]
