import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma3n.audio.mel import MelConfig, log_mel
from gemma3n.errors import InputError, SettingsError
from stages.mel import Mel, MelSettings
from stages.model import Load
from stages.row import Row


def stage(folder: Path) -> Mel:
    return Mel(MelSettings(), Load(folder=str(folder)))


def clip(samples: int) -> Any:
    return np.random.default_rng(samples).uniform(-1, 1, samples).astype(np.float32)


def test_each_waveform_becomes_its_mel_frames(checkpoint_folder: Path) -> None:
    clips = [clip(2000), clip(3000)]
    rows = stage(checkpoint_folder)(
        [
            Row(item="a", clip_paths=["a.wav", "b.wav"], waveforms=clips),
            Row(item="b", clip_paths=[], waveforms=[]),
            Row(item="c", clip_paths=["a.wav"], waveforms=clips[:1]),
        ]
    )
    assert [len(row["mels"]) for row in rows] == [2, 0, 1]
    assert all("waveforms" not in row for row in rows)
    np.testing.assert_array_equal(rows[0]["mels"][1], log_mel(clips[1]))


def test_frames_are_made_as_the_checkpoint_says(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({"hop_length": 320}))
    (row,) = stage(tmp_path)([Row(item="a", clip_paths=["a.wav"], waveforms=[clip(4000)])])
    np.testing.assert_array_equal(row["mels"][0], log_mel(clip(4000), MelConfig(hop_length=320)))


def test_a_checkpoint_that_says_nothing_means_the_released_frames(tmp_path: Path) -> None:
    assert stage(tmp_path).config == MelConfig()


def test_a_preprocessor_config_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text("{oops")
    with pytest.raises(SettingsError, match=r"preprocessor_config.json' is not JSON.*Download"):
        stage(tmp_path)
    (tmp_path / "preprocessor_config.json").write_text("[1]")
    with pytest.raises(SettingsError, match=r"config.json' holds a list; accepted is an object"):
        stage(tmp_path)


def test_a_clip_too_short_for_a_frame_is_called_by_its_file(tmp_path: Path) -> None:
    clips = [clip(4000), clip(10)]
    row = Row(item="a", clip_paths=["long.wav", "short.wav"], waveforms=clips)
    with pytest.raises(InputError, match=r"clip 'short.wav': the clip has 10 samples; a mel frame"):
        stage(tmp_path)([row])
