import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from gemma3n.errors import InputError
from stages.audio import CLIP_S, RATE, read_clip, sound_blocks
from stages.media import EXTENSIONS, Media
from stages.row import F32

SAMPLES = Path(__file__).parents[1] / "samples"


def tone(seconds: float, rate: int = RATE) -> F32:
    time = np.arange(round(seconds * rate)) / rate
    return (0.25 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def wav(path: Path, samples: Any, rate: int = RATE, **how: Any) -> str:
    soundfile.write(path, samples, rate, **how)
    return str(path)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_clip_of_any_rate_and_channels_is_heard_the_same(
    tmp_path: Path, rate: int, channels: int
) -> None:
    clip = np.stack([tone(0.5, rate)] * channels, axis=1)
    heard = read_clip(wav(tmp_path / "a.wav", clip, rate, subtype="FLOAT"))
    assert heard.dtype == np.float32
    assert heard.shape == (RATE // 2,)
    inside = slice(800, -800)  # a resampler rings at the ends
    np.testing.assert_allclose(heard[inside], tone(0.5)[inside], atol=1e-3)


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("a.wav", {}),
        ("a.flac", {}),
        ("a.mp3", {}),
        ("a.ogg", {}),
        ("a.opus", {"format": "OGG", "subtype": "OPUS"}),
        ("a.aiff", {}),
        ("a.au", {}),
        ("a.caf", {}),
        ("a.w64", {}),
        ("a.rf64", {}),
    ],
)
def test_every_sound_format_is_read(tmp_path: Path, name: str, how: dict[str, Any]) -> None:
    heard = read_clip(wav(tmp_path / name, tone(1), **how))
    assert Path(name).suffix in EXTENSIONS[Media.audio].split()
    spectrum = np.abs(np.fft.rfft(heard[:RATE]))
    assert abs(int(spectrum.argmax()) * RATE / len(heard[:RATE]) - 440) < 2


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    clip = np.stack([tone(0.1), -tone(0.1) / 2], axis=1)
    heard = read_clip(wav(tmp_path / "a.wav", clip, subtype="FLOAT"))
    np.testing.assert_allclose(heard, tone(0.1) / 4, atol=1e-7)


def test_a_clip_that_is_used_whole_may_have_30_s_and_no_sample_more(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", np.zeros(CLIP_S * RATE, np.float32))
    assert len(read_clip(file)) == CLIP_S * RATE
    wav(tmp_path / "a.wav", np.zeros(CLIP_S * RATE + 1, np.float32))
    with pytest.raises(InputError, match=r"a.wav' is longer than 30 s.* Split it"):
        read_clip(file)


def test_a_clip_that_is_no_sound_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"not a recording at all")
    with pytest.raises(InputError, match=r"a.wav' cannot be read as audio: Format not recognised"):
        read_clip(str(tmp_path / "a.wav"))
    with pytest.raises(InputError, match=r"Accepted are \.wav \.flac .*Repair or convert"):
        read_clip(str(tmp_path / "a.wav"))


def test_a_clip_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        read_clip(wav(tmp_path / "a.wav", np.zeros(0, np.float32)))


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    clip = tone(0.1)
    clip[7] = np.nan
    with pytest.raises(InputError, match="samples that are no numbers"):
        read_clip(wav(tmp_path / "a.wav", clip, subtype="FLOAT"))


def test_what_is_no_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone' cannot be opened: No such file.*Correct the"):
        read_clip(str(tmp_path / "gone"))
    with pytest.raises(InputError, match="is not a file"):
        read_clip(str(tmp_path))
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    with pytest.raises(InputError, match="is not a file"):
        read_clip(str(tmp_path / "pipe"))
    with pytest.raises(InputError, match="cannot be opened: File name too long"):
        read_clip(str(tmp_path / ("x" * 300)))


def test_an_empty_file_is_called_empty(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a' is empty, 0 bytes. Copy it anew, or leave it out\."):
        read_clip(str(tmp_path / "a"))


def test_a_name_that_is_no_text_is_opened(tmp_path: Path) -> None:
    file = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    Path(wav(tmp_path / "a.wav", tone(0.1))).rename(file)
    assert len(read_clip(file)) == RATE // 10


@pytest.mark.parametrize("name", ["a.wav", "a.aiff", "a.au", "a.mp3", "a.flac"])
def test_a_file_that_is_cut_off_says_so_after_what_is_there(tmp_path: Path, name: str) -> None:
    file = Path(wav(tmp_path / name, np.tile(tone(1), 40)))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    heard: list[F32] = []
    with pytest.raises(InputError, match=r"is cut off: its header gives|cannot be read as audio"):
        heard.extend(sound_blocks(str(file)))
    assert sum(map(len, heard)) < 21 * RATE


def test_a_header_that_was_written_before_its_data_says_nothing(tmp_path: Path) -> None:
    file = Path(wav(tmp_path / "a.wav", tone(1)))
    content = bytearray(file.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"  # as FFmpeg does into a pipe
    file.write_bytes(content)
    assert len(read_clip(str(file))) == RATE


def test_a_rate_that_no_recording_has_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has 100 samples a second; accepted are 1000 to 1000000"):
        read_clip(wav(tmp_path / "a.wav", np.zeros(100, np.float32), 100))


def test_a_playlist_in_a_recordings_clothes_leads_nowhere(tmp_path: Path) -> None:
    other = wav(tmp_path / "other.wav", tone(1))
    (tmp_path / "a.wav").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{other}\n")
    with pytest.raises(InputError, match="cannot be read as audio"):
        read_clip(str(tmp_path / "a.wav"))
    (tmp_path / "a.wav").write_text(f"ffconcat version 1.0\nfile {other}\n")
    with pytest.raises(InputError, match="cannot be read as audio"):
        read_clip(str(tmp_path / "a.wav"))


# Parts of files


@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_a_part_of_a_file_is_what_is_there_in_the_whole(
    tmp_path: Path, name: str, rate: int
) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 3 * rate).astype(np.float32)
    file = wav(tmp_path / name, noise, rate)
    whole = read_clip(file)
    part = np.concatenate(list(sound_blocks(file, offset_s=0.5, stated_s=1.25)))
    assert len(part) == 1.25 * RATE
    inside = slice(200, -200)  # a resampler rings at the ends
    np.testing.assert_allclose(part[inside], whole[RATE // 2 :][: len(part)][inside], atol=2e-3)


@pytest.mark.parametrize(
    ("offset", "stated", "seconds"),
    [
        (0.0, 1.25, 1.25),
        (0.0, 1.45, 1.5),  # rounded
        (0.0, 1.5, 1.5),
        (0.0, 2.0, 1.5),
        (0.0, -1.0, 1.5),  # not known
        (1.0, None, 0.5),
        (1.0, 0.25, 0.25),
    ],
)
def test_a_part_is_as_long_as_stated_unless_it_is_rounded(
    tmp_path: Path, offset: float, stated: float | None, seconds: float
) -> None:
    file = wav(tmp_path / "a.wav", tone(1.5))
    assert sum(map(len, sound_blocks(file, offset, stated))) == seconds * RATE


def test_a_part_beyond_the_end_is_refused(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", tone(1.5))
    with pytest.raises(
        InputError, match=r"no samples from offset=2 on\. Correct what the manifest"
    ):
        list(sound_blocks(file, offset_s=2))
    with pytest.raises(InputError, match="no samples from offset=0, duration=0 on"):
        list(sound_blocks(file, stated_s=0))


# Long ones


def test_a_recording_of_too_many_hours_is_refused_by_its_header(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    wav(file, np.zeros(10, np.float32))
    with file.open("r+b") as content:  # as many zeros as the header of a wav file can tell of
        content.truncate(2**32 - 2**17)
        content.seek(40)
        content.write((2**32 - 2**18).to_bytes(4, "little"))
    with pytest.raises(InputError, match=r"a.wav' is 37.3 hours; accepted are 24 hours. If it is"):
        next(sound_blocks(str(file)))
    assert len(next(sound_blocks(str(file), stated_s=2.0))) == 2 * RATE


def test_blocks_come_as_they_are_read(tmp_path: Path) -> None:
    blocks = list(sound_blocks(wav(tmp_path / "a.wav", np.zeros(100 * RATE, np.float32))))
    assert len(blocks) > 3
    assert sum(map(len, blocks)) == 100 * RATE


def test_every_sample_is_read() -> None:
    for file in sorted(SAMPLES.rglob("*.wav")):
        assert 0.5 * RATE < len(read_clip(str(file))) < 5 * RATE
