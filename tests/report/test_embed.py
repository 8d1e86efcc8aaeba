import base64
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from pipelines.report.embed import Embedded, Embedder
from pipelines.report.sources import source_rows
from pipelines.report.survey import Shown
from pipelines.settings import EmbedSettings
from stages.row import Row, light_row

RATE = 16_000
Make = Callable[..., Any]


@pytest.fixture
def scale(tmp_path: Path) -> Path:
    """A clip whose second `n` is a tone of 300 + 100 n Hz, eight seconds of it."""
    seconds = np.arange(8 * RATE) / RATE
    tone = 0.5 * np.sin(2 * np.pi * (300 + 100 * np.floor(seconds)) * seconds)
    soundfile.write(tmp_path / "scale.wav", tone, RATE)
    return tmp_path / "scale.wav"


def shown(start_s: float | None = None, end_s: float | None = None) -> Shown:
    return Shown("a", 0, start_s, end_s, "", None, None, "", "", "", None)


def embedder(**more: Any) -> Embedder:
    made = Embedder(EmbedSettings(**more))
    made.may_use(1.0)
    return made


def content(one: Embedded | str) -> io.BytesIO:
    assert isinstance(one, Embedded)
    head, _, data = one.uri.partition(",")
    assert head in ("data:audio/mpeg;base64", "data:image/webp;base64")
    return io.BytesIO(base64.b64decode(data))


def tones(one: Embedded | str) -> Iterator[int]:
    """The tone in the middle of each second, to 100 Hz."""
    samples, rate = soundfile.read(content(one))
    assert rate == RATE
    for n in range(int(len(samples) / RATE)):
        middle = samples[n * RATE + RATE // 4 : (n + 1) * RATE - RATE // 4]
        loudest = np.abs(np.fft.rfft(middle)).argmax() * RATE / len(middle)
        yield round(loudest / 100) * 100


def test_a_segment_is_cut_out_of_its_file_where_its_times_say(scale: Path) -> None:
    (clip,) = embedder().of(shown(3.0, 5.0), light_row("a", [str(scale)]))
    assert list(tones(clip)) == [600, 700]
    assert isinstance(clip, Embedded)
    assert clip.note == ""


def test_a_long_one_is_cut_and_says_so(scale: Path) -> None:
    (clip,) = embedder(clip_s=2).of(shown(1.0, 7.0), light_row("a", [str(scale)]))
    assert list(tones(clip)) == [400, 500]
    assert isinstance(clip, Embedded)
    assert clip.note == "first 2.00 s of 6.00 s"


def test_of_an_unknown_length_only_what_fills_the_room_is_said_to_be_the_first_part(
    scale: Path,
) -> None:
    row = light_row("a", [str(scale)])
    notes = [embedder(clip_s=most).of(shown(), row)[0] for most in (5, 9)]
    assert [one.note for one in notes if isinstance(one, Embedded)] == ["first 5.00 s", ""]


def test_a_part_that_a_manifest_names_begins_at_its_offset(scale: Path) -> None:
    row = light_row("a", [str(scale)]) | Row(offset_s=2.0, stated_s=1.0)
    (clip,) = embedder().of(shown(), row)
    assert list(tones(clip)) == [500]


def test_a_picture_is_made_small(tmp_path: Path) -> None:
    Image.new("RGB", (900, 300), "red").save(tmp_path / "red.png")
    (made,) = embedder(picture_px=90).of(shown(), light_row("a", [], [str(tmp_path / "red.png")]))
    with Image.open(content(made)) as image:
        assert image.size == (90, 30)
    assert isinstance(made, Embedded)
    assert (made.width, made.height) == (90, 30)


def test_what_is_gone_or_far_away_is_said(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    paths = [str(tmp_path / "gone.wav"), str(tmp_path / "text.wav"), "https://example.org/a.wav"]
    said = [embedder().of(shown(), light_row("a", [path])) for path in paths]
    gone = ["Its file is gone, or cannot be read any more."]
    assert said == [gone, gone, ["Its file is at a URL, which a report does not fetch."]]


def test_no_more_is_embedded_than_may_be_and_each_run_has_its_share(scale: Path) -> None:
    one = embedder()
    (clip,) = one.of(shown(0, 4), light_row("a", [str(scale)]))
    assert isinstance(clip, Embedded)
    tight = embedder(max_mb=2.5 * len(clip.uri) / 1e6)
    tight.may_use(0.5)
    row = light_row("a", [str(scale)])
    made = [tight.of(shown(0, 4), row)[0] for _ in range(2)]
    tight.may_use(1.0)
    made += [tight.of(shown(0, 4), row)[0] for _ in range(2)]
    assert [isinstance(one, Embedded) for one in made] == [True, False, True, False]
    assert tight.used_bytes <= tight.most
    assert (tight.count, tight.refused) == (2, 2)
    assert re.match("left out: the clips and pictures of this page", str(made[1]))


def test_items_are_found_where_their_source_lists_them(scale: Path) -> None:
    settings = {"source": {"path": [str(scale.parent)], "media": ["audio"], "unknown": 1}}
    found = source_rows(settings, {"scale.wav", "other.wav"})
    listed = found["scale.wav"]
    assert not isinstance(listed, str)
    assert listed["audio_paths"] == [str(scale)]
    assert found["other.wav"] == "The source has it no more."


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"path": ["https://example.org/"]}, "Its source is a URL, which a report does not fetch."),
        ({"path": ["-"]}, "Its source was a list on stdin, which is gone."),
        ({"path": ["/nowhere/\0"]}, "The source is not where it was."),
        ({"path": ["a"], "media": ["smell"]}, "The source is not where it was."),
        (None, "The source is not where it was."),
    ],
)
def test_a_source_that_cannot_be_listed_is_said(source: Any, why: str) -> None:
    assert source_rows({"source": source}, {"a"}) == {"a": why}
