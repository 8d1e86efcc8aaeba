import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gemma3n.audio.mel import MelConfig, hann_window, log_mel, mel_filters, tokens_for
from gemma3n.config import AudioConfig
from gemma3n.errors import InputError, SettingsError

TOLERANCE = 2e-3  # of the golden README: quiet bins in another library's float32 FFT
Arrays = dict[str, npt.NDArray[Any]]


def noise(samples: int) -> npt.NDArray[np.float32]:
    return np.random.default_rng(0).uniform(-1, 1, samples).astype(np.float32)


def test_window_and_filters_are_the_references(features: Arrays) -> None:
    np.testing.assert_allclose(hann_window(MelConfig()), features["window"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(mel_filters(MelConfig()), features["mel_filters"], rtol=0, atol=1e-9)


def test_a_clip_on_its_own_has_the_references_frames_all_real(features: Arrays) -> None:
    assert features["single_mask"].all()
    mel = log_mel(features["wave1"])
    assert mel.dtype == np.float32
    np.testing.assert_allclose(mel, features["single_features"][0], rtol=0, atol=TOLERANCE)


def test_thirty_seconds_have_the_references_frames(features: Arrays) -> None:
    waveform = (features["wave3_i16"] / 32768).astype(np.float32)[:480_000]
    np.testing.assert_allclose(
        log_mel(waveform), features["long_features"][0], rtol=0, atol=TOLERANCE
    )


def test_clips_padded_to_the_longest_have_the_references_frames_and_mask(features: Arrays) -> None:
    clips = [features["wave1"], features["wave2"]]
    longest = max(clip.size for clip in clips)
    for i, clip in enumerate(clips):
        mel = log_mel(np.pad(clip, (0, longest - clip.size)))
        np.testing.assert_allclose(mel, features["batch_features"][i], rtol=0, atol=TOLERANCE)
        real = np.arange(len(mel)) * MelConfig.hop_length < clip.size
        np.testing.assert_array_equal(real, features["batch_mask"][i])
        # Alone it has no frame that the mask of a batch would hide.
        assert len(log_mel(clip)) <= real.sum()


@settings(max_examples=30)
@given(
    frame_length=st.integers(5, 300),
    hop_length=st.integers(3, 200),
    overdrive=st.booleans(),
    feature_size=st.integers(2, 40),
    preemphasis=st.sampled_from([0.0, 0.9]),
    samples=st.integers(301, 2000),
)
def test_any_config_gives_what_its_frames_give_one_at_a_time(
    frame_length: int,
    hop_length: int,
    overdrive: bool,
    feature_size: int,
    preemphasis: float,
    samples: int,
) -> None:
    config = MelConfig.from_dict(
        {
            "frame_length": frame_length,
            "hop_length": hop_length,
            "fft_overdrive": overdrive,
            "feature_size": feature_size,
            "preemphasis": preemphasis,
            "sampling_rate": 8000,
            "min_frequency": 50.0,
            "max_frequency": 3900.0,
            "mel_floor": 1e-3,
        }
    )
    waveform = noise(samples)
    padded = np.pad(waveform.astype(np.float64), (0, -samples % 128))
    frames = []
    for start in range(0, padded.size - frame_length, hop_length):
        cut = padded[start : start + frame_length]
        emphasised = np.append(cut[0] * (1 - preemphasis), cut[1:] - preemphasis * cut[:-1])
        spectrum = np.fft.rfft(emphasised * hann_window(config), config.fft_length)
        frames.append(np.log(np.maximum(np.abs(spectrum) @ mel_filters(config), 1e-3)))
    np.testing.assert_allclose(log_mel(waveform, config), np.stack(frames), rtol=0, atol=1e-2)


def test_a_silent_frame_is_the_log_of_the_floor() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(1000, np.float32)), np.log(1e-5), rtol=1e-6)


@pytest.mark.parametrize(("frame_length", "needed"), [(127, 1), (128, 129), (129, 129), (512, 513)])
def test_a_clip_that_silence_cannot_fill_to_a_frame_is_refused(
    frame_length: int, needed: int
) -> None:
    config = MelConfig.from_dict({"frame_length": frame_length})
    assert len(log_mel(noise(needed), config)) == 1
    with pytest.raises(InputError, match=f"has {needed - 1} samples; a mel frame needs {needed}, "):
        log_mel(noise(needed - 1), config)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_counted_and_refused(bad: float) -> None:
    waveform = noise(1000)
    waveform[[3, 700]] = bad
    with pytest.raises(InputError, match="2 of the clip's 1000 samples are NaN or infinite;"):
        log_mel(waveform)


@pytest.mark.parametrize(
    "waveform", [np.zeros((2, 1000), np.float32), np.zeros(1000, np.int16), np.float32(0)]
)
def test_stereo_and_integers_are_refused(waveform: Any) -> None:
    with pytest.raises(InputError, match=r"Mix its channels down and divide integers"):
        log_mel(np.asarray(waveform))


def test_the_released_preprocessor_config_is_the_default(checkpoint_folder: Path) -> None:
    raw = json.loads((checkpoint_folder / "preprocessor_config.json").read_text())
    assert MelConfig.from_dict(raw) == MelConfig.from_dict({}) == MelConfig()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dither", 0.1),
        ("input_scale_factor", 32768.0),
        ("padding_side", "left"),
        ("padding_value", -1.0),
        ("per_bin_mean", [0.0] * 128),
        ("per_bin_stddev", [1.0] * 128),
        ("preemphasis_htk_flavor", False),
    ],
)
def test_what_no_released_checkpoint_asks_for_is_refused(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"has {name}=.*; only .* is implemented"):
        MelConfig.from_dict({name: value})


def test_an_fft_length_that_the_frame_does_not_lead_to_is_refused() -> None:
    assert MelConfig.from_dict({"fft_overdrive": False, "fft_length": 512}).fft_length == 512
    with pytest.raises(SettingsError, match=r"fft_length=512, but frame_length=512 .* means 1024"):
        MelConfig.from_dict({"fft_length": 512})


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"hop_length": 0}, "hop_length=0; it must be above 0"),
        ({"fft_length": 100}, "fft_length=100 is shorter than a frame of 512 samples"),
        ({"max_frequency": 9000.0}, "from 125.0 to 9000.0 Hz; they must rise within 0 to 8000.0"),
        ({"min_frequency": 7600.0}, "Correct min_frequency, max_frequency or sampling_rate"),
    ],
)
def test_a_config_without_sense_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        MelConfig(**raw)


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("hop_length", "160", "int"), ("frame_length", 512.0, "int"), ("mel_floor", True, "float")],
)
def test_a_value_of_another_type_is_refused(name: str, value: Any, kind: str) -> None:
    with pytest.raises(SettingsError, match=f"has {name}={value!r}; it must be of type {kind}"):
        MelConfig.from_dict({name: value})
    assert MelConfig.from_dict({"min_frequency": 125}) == MelConfig()


def test_thirty_seconds_become_188_soft_tokens() -> None:
    assert tokens_for(2997, AudioConfig()) == 188
    assert [tokens_for(n, AudioConfig()) for n in (0, 1, 16, 17)] == [0, 1, 1, 2]


def test_making_mels_needs_no_torch() -> None:
    code = "import sys, gemma3n.audio.mel; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
