from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from gemma3n.errors import InputError
from stages.audio import RATE
from stages.media import Media
from stages.model import Load
from stages.read import NO_SPEECH, Read
from stages.row import F32, Row, light_row
from stages.source import SourceSettings

LIMIT_S = 12.8  # seconds of sound that nano takes at once


def tone(seconds: float) -> F32:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.25 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def silence(seconds: float) -> F32:
    return np.zeros(round(seconds * RATE), np.float32)


def wav(path: Path, *parts: F32) -> str:
    soundfile.write(path, np.concatenate(parts), RATE, subtype="FLOAT")
    return str(path)


def reader(*media: Media, **settings: Any) -> Read:
    return Read(SourceSettings(path=["."], media=list(media), **settings), Load(folder="nano"))


def read(stage: Read, row: Row) -> Row:
    """The one row that becomes of a row."""
    (made,) = stage.expand(row)
    return made


# Media together


def test_a_row_with_one_clip_has_its_times(tmp_path: Path) -> None:
    row = light_row("a", audio_paths=[wav(tmp_path / "a.wav", tone(0.5))])
    row = read(reader(Media.audio), row)
    assert (row["start_s"], row["end_s"], row["audio_s"]) == (0.0, 0.5, 0.5)
    assert [len(w) for w in row["waveforms"]] == [RATE // 2]
    assert row["audio_parts"] == ["a"]
    assert "images" not in row


def test_a_row_of_a_part_of_a_file_has_the_times_of_the_file(tmp_path: Path) -> None:
    row = light_row("a", audio_paths=[wav(tmp_path / "a.wav", silence(1), tone(1))])
    row["offset_s"], row["stated_s"] = 1.0, 0.25
    for split in (False, True):
        made = read(reader(Media.audio, split=split), row)
        assert (made["start_s"], made["end_s"], made["audio_s"]) == (1.0, 1.25, 0.25)
        np.testing.assert_array_equal(made["waveforms"][0], tone(0.25))


def test_a_row_of_several_media_keeps_them_together_and_has_no_times(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", tone(0.5))
    Image.new("RGB", (3, 2)).save(tmp_path / "p.png")
    row = light_row("a", audio_paths=[file, file], image_paths=[str(tmp_path / "p.png")])
    for split in (False, True):
        made = read(reader(Media.audio, Media.image, split=split), row)
        assert (made["start_s"], made["end_s"], made["audio_s"]) == (None, None, 1.0)
        assert len(made["waveforms"]) == 2
        assert [image.size for image in made["images"]] == [(3, 2)]
        assert (made["audio_parts"], made["image_parts"]) == (["a", "a"], ["i"])


def test_a_long_clip_of_a_row_is_several_clips_in_order(tmp_path: Path) -> None:
    long = wav(tmp_path / "a.wav", tone(10), silence(1.5), tone(5))
    short = wav(tmp_path / "b.wav", tone(0.5))
    row = read(reader(Media.audio), light_row("a", audio_paths=[long, short]))
    assert row["audio_parts"] == ["aa", "a"]
    assert row["clip_paths"] == [long, long, short]
    assert [round(len(w) / RATE, 1) for w in row["waveforms"]] == [10.2, 5.2, 0.5]
    alone = read(reader(Media.audio), light_row("a", audio_paths=[long]))
    assert (alone["start_s"], alone["end_s"]) == (0.0, 16.5)


def test_a_clip_that_is_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", tone(300))
    with pytest.raises(InputError, match=r"a.wav' has more sound than fits in one prompt.*split="):
        read(reader(Media.audio), light_row("a", audio_paths=[file]))


def test_a_row_of_text_has_no_media_and_no_times() -> None:
    row = read(reader(Media.audio, Media.image), light_row("a", prompt="Hello"))
    assert (row["waveforms"], row["images"], row["start_s"], row["audio_s"]) == ([], [], None, 0.0)


@pytest.mark.parametrize("media", [(Media.audio,), (Media.image,), (Media.audio, Media.image), ()])
def test_a_row_gets_the_columns_that_read_declares(media: tuple[Media, ...]) -> None:
    stage = reader(*media)
    row: Row = light_row("a", prompt="Hello")
    row["place"] = 0
    assert set(read(stage, row)) == {*Read.columns(stage.settings).adds, "error"}


# A row a segment


def test_a_long_clip_becomes_a_row_a_segment(tmp_path: Path) -> None:
    file = wav(tmp_path / "a.wav", tone(10), silence(1.5), tone(5), silence(3), tone(2))
    rows = list(reader(Media.audio, split=True).expand(light_row("a", audio_paths=[file])))
    assert [(row["segment"], row["last"]) for row in rows] == [(0, False), (1, False), (2, True)]
    times = [(row["start_s"], row["end_s"]) for row in rows]
    assert times == [(0.0, 10.2), (11.3, 16.7), (19.3, 21.5)]
    assert [round(row["audio_s"], 3) for row in rows] == [10.2, 5.4, 2.2]
    assert [len(row["waveforms"][0]) for row in rows] == [163_200, 86_400, 35_200]


def test_segments_are_as_long_as_the_checkpoint_or_the_settings_allow(tmp_path: Path) -> None:
    row = light_row("a", audio_paths=[wav(tmp_path / "a.wav", tone(30))])
    for settings, longest in (({}, LIMIT_S), ({"max_segment_s": 5.0}, 5.0)):
        rows = list(reader(Media.audio, split=True, **settings).expand(row))
        assert longest / 2 < max(made["audio_s"] for made in rows) <= longest


def test_a_clip_that_fits_is_untouched(tmp_path: Path) -> None:
    clip = np.concatenate([silence(2), tone(3), silence(4)])
    row = light_row("a", audio_paths=[wav(tmp_path / "a.wav", clip)])
    for split in (False, True):
        made = read(reader(Media.audio, split=split), row)
        np.testing.assert_array_equal(made["waveforms"][0], clip)
        assert (made["start_s"], made["end_s"], made["last"]) == (0.0, 9.0, True)


@pytest.mark.parametrize("seconds", [2, 100])
def test_a_clip_without_speech_is_done_at_once_and_says_so(tmp_path: Path, seconds: int) -> None:
    hiss = np.random.default_rng(0).normal(0, 1e-4, seconds * RATE).astype(np.float32)
    row = light_row("a", audio_paths=[wav(tmp_path / "a.wav", hiss)])
    made = read(reader(Media.audio, split=True), row)
    assert (made["text"], made["note"], made["last"]) == ("", NO_SPEECH, True)
    assert (made["start_s"], made["end_s"]) == (0.0, seconds)
    assert "waveforms" not in made


def test_a_clip_that_breaks_in_its_middle_gives_what_is_before(tmp_path: Path) -> None:
    bad = np.full(10, np.nan, np.float32)
    file = wav(tmp_path / "a.wav", tone(60), silence(2), tone(60), bad)
    rows: list[Row] = []
    with pytest.raises(InputError, match="no numbers"):
        rows.extend(reader(Media.audio, split=True).expand(light_row("a", audio_paths=[file])))
    assert [row["segment"] for row in rows] == list(range(len(rows)))
    assert rows
    assert not any(row["last"] for row in rows)
