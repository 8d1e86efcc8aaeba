"""Films and sound files that FFmpeg makes of the samples, read back."""

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gemma3n.errors import InputError
from stages.audio import RATE, read_clip, sound_blocks
from stages.media import Media
from stages.model import Load
from stages.read import Read
from stages.row import F32, Row, light_row
from stages.source import SourceSettings
from stages.video import has_sound, read_film

av = pytest.importorskip("av")

SAMPLES = Path(__file__).parents[1] / "samples"
RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture(scope="module")
def speech() -> F32:
    """Some seconds of it."""
    files = sorted(SAMPLES.rglob("*.wav"))[:5]
    return np.concatenate([read_clip(str(file)) for file in files])


def make(path: Path, speech: F32 | None, codec: str = "aac", seconds: int = 0) -> str:
    """A film of so many seconds of red and blue pictures, white on the left; or just sound."""
    with av.open(str(path), "w") as container:
        pictures: Any = _pictures(container, path) if seconds else None
        sound: Any = None
        if speech is not None:
            sound = container.add_stream(
                codec, rate=48_000 if codec == "libopus" else RATE, layout="mono"
            )
        for number in range(4 * seconds):
            colour = BLUE if number // 4 % 2 else RED
            pixels = np.full((48, 64, 3), colour, np.uint8)
            pixels[:, :16] = 255
            image = av.VideoFrame.from_ndarray(pixels, "rgb24")
            image.pts, image.time_base = number, Fraction(1, 4)
            container.mux(pictures.encode(image))
        if pictures:
            container.mux(pictures.encode(None))
        if sound:
            for packet in _sound(sound, speech):
                container.mux(packet)
    return str(path)


def _pictures(container: Any, path: Path) -> Any:
    stream = container.add_stream("libvpx" if path.suffix == ".webm" else "mpeg4", rate=4)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    stream.bit_rate = 1_000_000
    return stream


def _sound(stream: Any, speech: Any) -> Any:
    frame = av.AudioFrame.from_ndarray(speech[None], "fltp", layout="mono")
    frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
    context = stream.codec_context
    convert = av.AudioResampler(context.format, "mono", context.rate, context.frame_size or 1024)
    for part in [*convert.resample(frame), *convert.resample(None), None]:
        yield from stream.encode(part)


def alike(heard: F32, speech: F32) -> float:
    """Correlation; of sound that is shifted by a millisecond there is none."""
    size = min(len(heard), len(speech))
    return float(np.corrcoef(heard[:size], speech[:size])[0, 1])


def reader(*media: Media, **settings: Any) -> Read:
    return Read(SourceSettings(path=["."], media=list(media), **settings), Load(folder="nano"))


def read(stage: Read, row: Row) -> Row:
    (made,) = stage.expand(row)
    return made


# Sound


@pytest.mark.parametrize(
    ("name", "codec", "seconds"),
    [
        ("a.m4a", "aac", 0),
        ("a.ogg", "libopus", 0),
        ("a.mka", "libopus", 0),
        ("a.mp4", "aac", 4),
        ("a.mkv", "aac", 4),
        ("a.webm", "libopus", 4),
    ],
)
def test_sound_in_a_container_is_that_of_its_wav(
    tmp_path: Path, speech: F32, name: str, codec: str, seconds: int
) -> None:
    heard = read_clip(make(tmp_path / name, speech, codec, seconds))
    assert abs(len(heard) - len(speech)) < 0.1 * RATE
    assert alike(heard, speech) > 0.99


@pytest.mark.parametrize(("name", "codec"), [("a.m4a", "aac"), ("a.ogg", "libopus")])
def test_a_part_of_a_container_begins_where_it_is_said_to(
    tmp_path: Path, speech: F32, name: str, codec: str
) -> None:
    file = make(tmp_path / name, speech, codec)
    part = np.concatenate(list(sound_blocks(file, offset_s=3.5, stated_s=2.0)))
    assert len(part) == 2 * RATE
    assert alike(part, speech[round(3.5 * RATE) :]) > 0.99


def test_a_film_without_sound_is_told_apart(tmp_path: Path) -> None:
    file = make(tmp_path / "a.mp4", None, seconds=2)
    with pytest.raises(InputError, match=r"a.mp4' has no sound, only video\. Leave it out, or"):
        read_clip(file)
    assert not has_sound(file)


def test_a_film_that_is_cut_off_says_so(tmp_path: Path, speech: F32) -> None:
    file = Path(make(tmp_path / "a.mkv", np.tile(speech, 3)))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(InputError, match=r"a.mkv' is cut off: its header gives"):
        list(sound_blocks(str(file)))


def test_without_the_extra_its_name_is_told(
    tmp_path: Path, speech: F32, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = make(tmp_path / "a.m4a", speech)
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(InputError, match=r"pip install 'gemma3n-pipelines\[video\]'"):
        read_clip(file)
    with pytest.raises(InputError, match=r"pip install 'gemma3n-pipelines\[video\]'"):
        read_film(file, 1.0, 4)


# Pictures


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.webm"])
def test_frames_are_taken_at_a_rate(tmp_path: Path, name: str) -> None:
    film = read_film(make(tmp_path / name, None, seconds=6), fps=1.0, at_most=10)
    assert film.times_s == pytest.approx([0, 1, 2, 3, 4, 5], abs=0.002)
    assert film.wanted == 6
    assert [image.size for image in film.images] == [(64, 48)] * 6
    for number, image in enumerate(film.images):
        assert int(np.asarray(image).mean((0, 1)).argmax()) == (2 if number % 2 else 0)


@pytest.mark.parametrize(
    ("a", "b", "white"), [(0, 1, (24, 4)), (0, -1, (24, 60)), (-1, 0, (60, 24))]
)
def test_a_film_of_a_turned_phone_is_upright(
    tmp_path: Path, a: int, b: int, white: tuple[int, int]
) -> None:
    film = make(tmp_path / "a.mp4", None, seconds=1)
    content = bytearray(Path(film).read_bytes())
    turn = content.index(b"tkhd") + 44  # ISO/IEC 14496-12 §8.3.2: x to a, b and y to -b, a
    content[turn : turn + 20] = struct.pack(">5i", a << 16, b << 16, 0, -b << 16, a << 16)
    Path(film).write_bytes(content)
    (image,) = read_film(film, fps=1.0, at_most=1).images
    assert image.size == ((48, 64) if b else (64, 48))
    x, y = white
    pixels = np.asarray(image)
    assert pixels[y, x].min() > 200
    assert pixels[-1 - y, -1 - x, 1] < 80


@pytest.mark.parametrize("at_most", [1, 2, 4])
def test_of_a_long_film_frames_are_further_apart(tmp_path: Path, at_most: int) -> None:
    film = read_film(make(tmp_path / "a.mp4", None, seconds=12), fps=2.0, at_most=at_most)
    assert film.wanted == 24
    assert film.times_s == pytest.approx([12 / at_most * n for n in range(at_most)], abs=0.3)


def test_a_film_without_pictures_is_told_apart(tmp_path: Path, speech: F32) -> None:
    with pytest.raises(InputError, match=r"a.mp4' has no pictures, only audio\. Leave it out, or"):
        read_film(make(tmp_path / "a.mp4", speech), 1.0, 4)


def test_a_film_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no film at all" * 100)
    with pytest.raises(InputError, match=r"a.mp4' cannot be read as video: .*Accepted are .mp4"):
        read_film(str(tmp_path / "a.mp4"), 1.0, 4)


def test_a_film_whose_frames_are_missing_says_so(tmp_path: Path) -> None:
    film = tmp_path / "a.avi"
    with av.open(str(film), "w") as container:
        _pictures(container, film)
        container.start_encoding()
    with pytest.raises(InputError, match=r"a.avi' has no frames: .*Copy it anew, or leave it out"):
        read_film(str(film), 1.0, 4)


def test_sound_that_does_not_say_how_long_it_is_may_not_be_too_long(
    tmp_path: Path, speech: F32
) -> None:
    path = make(tmp_path / "a.aac", speech)
    assert sum(map(len, sound_blocks(path))) > RATE
    with pytest.raises(
        InputError, match=r"longer than its header says; accepted are .* hours\. If"
    ):
        list(sound_blocks(path, max_hours=1 / 3600))


# Rows


def test_frames_come_before_the_sound_of_their_segment(tmp_path: Path, speech: F32) -> None:
    sound = np.concatenate([speech[: 2 * RATE], np.zeros(12 * RATE, np.float32), speech[:RATE]])
    row = light_row("a", image_paths=[make(tmp_path / "a.mp4", sound, seconds=15)])
    made = read(reader(Media.audio, Media.image, fps=0.25), row)
    assert made["image_parts"] == ["iaiiia"]
    assert (len(made["images"]), len(made["waveforms"])) == (4, 2)
    assert made["clip_paths"] == row["image_paths"] * 2
    assert made["start_s"] == 0.0
    assert "note" not in made


def test_a_film_shows_as_many_frames_as_the_context_holds_and_says_so(tmp_path: Path) -> None:
    row = light_row("a", image_paths=[make(tmp_path / "a.mp4", None, seconds=12)])
    made = read(reader(Media.image), row)
    assert len(made["images"]) < 12  # nano's context is small
    assert made["note"] == f"{len(made['images'])} of 12 frames, for the context"
    made = read(reader(Media.image, max_frames=3), row)
    assert made["image_parts"] == ["iii"]
    assert made["note"] == "3 of 12 frames, for source.max_frames"


def test_a_film_beside_more_than_the_context_holds_is_refused(tmp_path: Path) -> None:
    film = make(tmp_path / "a.mp4", None, seconds=2)
    pictures = [str(picture) for picture in sorted(SAMPLES.rglob("*.png"))[:6]]
    with pytest.raises(
        InputError, match=r"no frame of '.*' fits in the context beside .*Give it a"
    ):
        read(reader(Media.image), light_row("a", image_paths=[film, *pictures]))


def test_a_film_in_a_job_of_sound_is_its_sound(tmp_path: Path, speech: F32) -> None:
    row = light_row("a", audio_paths=[make(tmp_path / "a.mkv", speech, seconds=2)])
    made = read(reader(Media.audio, split=True), row)
    assert alike(made["waveforms"][0], speech) > 0.99
    assert "images" not in made
