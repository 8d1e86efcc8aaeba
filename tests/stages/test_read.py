import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from gemma3n.errors import InputError
from stages.media import EXTENSIONS, Media
from stages.model import Load
from stages.read import CLIP_S, RATE, Read, read_audio, read_image
from stages.row import F32, Row, light_row
from stages.source import SourceSettings

SAMPLES = Path(__file__).parents[1] / "samples"


def tone(seconds: float, rate: int = RATE) -> F32:
    time = np.arange(round(seconds * rate)) / rate
    return (0.25 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)


def wav(path: Path, samples: Any, rate: int = RATE, **how: Any) -> Path:
    soundfile.write(path, samples, rate, **how)
    return path


def reader(*media: Media) -> Read:
    return Read(SourceSettings(path=["."], media=list(media)), Load(folder="nowhere"))


# Sound


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_clip_of_any_rate_and_channels_is_heard_the_same(
    tmp_path: Path, rate: int, channels: int
) -> None:
    clip = np.stack([tone(0.5, rate)] * channels, axis=1)
    heard = read_audio(wav(tmp_path / "a.wav", clip, rate, subtype="FLOAT"))
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
    heard = read_audio(wav(tmp_path / name, tone(1), **how))
    assert Path(name).suffix in EXTENSIONS[Media.audio].split()
    spectrum = np.abs(np.fft.rfft(heard[:RATE]))
    assert abs(int(spectrum.argmax()) * RATE / len(heard[:RATE]) - 440) < 2


def test_channels_are_mixed_by_their_mean(tmp_path: Path) -> None:
    clip = np.stack([tone(0.1), -tone(0.1) / 2], axis=1)
    heard = read_audio(wav(tmp_path / "a.wav", clip, subtype="FLOAT"))
    np.testing.assert_allclose(heard, tone(0.1) / 4, atol=1e-7)


def test_a_clip_of_exactly_30_s_is_read_and_one_sample_more_is_not(tmp_path: Path) -> None:
    for rate in (16_000, 44_100):
        file = wav(tmp_path / "a.wav", np.zeros(CLIP_S * rate, np.float32), rate)
        assert len(read_audio(file)) == CLIP_S * RATE
        wav(file, np.zeros(CLIP_S * rate + 1, np.float32), rate)
        with pytest.raises(InputError, match=r"a.wav' is 30.0 s; one clip may be 30 s. Split it"):
            read_audio(file)


def test_a_long_clip_is_refused_with_its_length(tmp_path: Path) -> None:
    for name in ("a.wav", "a.mp3"):
        file = wav(tmp_path / name, np.zeros(441 * RATE // 10, np.float32))
        with pytest.raises(InputError, match=rf"clip '.*{name}' is 44.1 s; one clip may be 30 s"):
            read_audio(file)


def test_a_clip_that_is_no_sound_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"not a recording at all")
    with pytest.raises(InputError, match=r"a.wav' cannot be read as audio: Format not recognised"):
        read_audio(tmp_path / "a.wav")
    with pytest.raises(InputError, match=r"Accepted are \.wav \.flac .*Repair or convert"):
        read_audio(tmp_path / "a.wav")


def test_a_clip_without_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no samples"):
        read_audio(wav(tmp_path / "a.wav", np.zeros(0, np.float32)))


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    clip = tone(0.1)
    clip[7] = np.nan
    with pytest.raises(InputError, match="samples that are no numbers"):
        read_audio(wav(tmp_path / "a.wav", clip, subtype="FLOAT"))


@pytest.mark.parametrize("read", [read_audio, read_image])
def test_what_is_no_file_is_refused_without_being_opened(tmp_path: Path, read: Any) -> None:
    with pytest.raises(InputError, match=r"gone' cannot be opened: No such file.*Correct the"):
        read(tmp_path / "gone")
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe")  # opening it would wait for a writer
    with pytest.raises(InputError, match="is not a file"):
        read(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be opened: File name too long"):
        read(tmp_path / ("x" * 300))


@pytest.mark.parametrize("read", [read_audio, read_image])
def test_an_empty_file_is_called_empty(tmp_path: Path, read: Any) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match=r"a' is empty, 0 bytes. Copy it anew, or leave it out\."):
        read(tmp_path / "a")


def test_a_name_that_is_no_text_is_opened(tmp_path: Path) -> None:
    file = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    wav(tmp_path / "a.wav", tone(0.1)).rename(file)
    assert len(read_audio(file)) == RATE // 10
    Image.new("RGB", (2, 3)).save(tmp_path / "p.png")
    (tmp_path / "p.png").rename(file)
    assert read_image(file).shape == (3, 2, 3)


# Pictures


def test_a_picture_is_height_by_width_by_rgb(tmp_path: Path) -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    Image.fromarray(image).save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png"), image)


@pytest.mark.parametrize("name", EXTENSIONS[Media.image].split())
def test_every_picture_format_is_read(tmp_path: Path, name: str) -> None:
    file = tmp_path / f"p{name}"
    kind = "JPEG" if name == ".jfif" else None
    Image.new("L" if name == ".pgm" else "RGB", (40, 30), "white").save(file, kind)
    image = read_image(file)
    assert image.shape == (30, 40, 3)
    assert image.min() > 250


def test_a_picture_is_upright_as_its_exif_says(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 2))
    image.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate a quarter clockwise to see it upright
    image.save(tmp_path / "p.png", exif=exif)
    upright = read_image(tmp_path / "p.png")
    assert upright.shape == (4, 2, 3)
    assert upright[0, 1].tolist() == [255, 255, 255]


def test_of_a_film_the_first_frame_is_taken(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "p.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "p.gif")[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(("mode", "name"), [("RGBA", "p.png"), ("LA", "p.png"), ("P", "p.gif")])
def test_what_is_transparent_is_white(tmp_path: Path, mode: str, name: str) -> None:
    image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    image.putpixel((1, 0), (0, 0, 0, 255))
    (image if mode == "P" else image.convert(mode)).save(tmp_path / name)
    assert Image.open(tmp_path / name).mode == mode
    assert read_image(tmp_path / name)[0].tolist() == [[255, 255, 255], [0, 0, 0]]


def test_sixteen_bit_grey_keeps_its_shades(tmp_path: Path) -> None:
    grey = np.array([[0, 255, 256, 32_768, 65_535]], np.uint16)
    for name in ("p.png", "p.tiff"):
        Image.fromarray(grey).save(tmp_path / name)
        assert read_image(tmp_path / name)[0, :, 0].tolist() == [0, 0, 1, 128, 255]


def test_sixteen_bits_of_colour_or_of_a_pgm_keep_their_shades(tmp_path: Path) -> None:
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 65535\n\x80\x00\xff\xff")
    assert read_image(tmp_path / "p.pgm")[0, :, 0].tolist() == [128, 255]
    (tmp_path / "p.pgm").write_bytes(b"P5 2 1 1000\n\x01\xf4\x03\xe8")
    assert read_image(tmp_path / "p.pgm")[0, :, 0].tolist() == [128, 255]
    (tmp_path / "p.ppm").write_bytes(b"P6 1 1 65535\n\x80\x00\xff\xff\x00\x00")
    assert read_image(tmp_path / "p.ppm")[0, 0].tolist() == [128, 255, 0]


@pytest.mark.parametrize("kind", [np.int32, np.float32, np.int16])
def test_pixels_of_no_known_scale_are_refused(tmp_path: Path, kind: Any) -> None:
    if kind is np.int16:  # which Pillow reads, but cannot write
        Image.fromarray(np.zeros((2, 3), np.uint16)).save(tmp_path / "p.tif", tiffinfo={339: 2})
    else:
        Image.fromarray(np.zeros((2, 3), kind)).save(tmp_path / "p.tif")
    with pytest.raises(InputError, match=r"p.tif' has pixels of mode '[IF]' .*accepted are 8 and"):
        read_image(tmp_path / "p.tif")


def test_a_picture_that_is_none_says_so(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_text("a text file")
    with pytest.raises(InputError, match=r"image: its content is no known format\. Accepted are "):
        read_image(tmp_path / "p.png")


def test_a_picture_that_is_cut_off_says_so(tmp_path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(tmp_path / "p.png")
    file = tmp_path / "p.png"
    file.write_bytes(file.read_bytes()[:2000])
    with pytest.raises(InputError, match="cannot be read as image"):
        read_image(file)


@pytest.mark.parametrize("pixels", [50, 150])  # Pillow warns of more, and refuses twice as many
def test_a_picture_of_too_many_pixels_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pixels: int
) -> None:
    Image.new("L", (10, 20)).save(tmp_path / "p.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", pixels)
    with pytest.raises(InputError, match=rf"p.png' has 200 pixels; it may have {pixels}\. Scale"):
        read_image(tmp_path / "p.png")


def test_a_program_in_a_pictures_clothes_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 2 2\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(InputError, match="no known format"):
        read_image(tmp_path / "p.png")


# Rows


def test_a_row_with_one_clip_has_its_times(tmp_path: Path) -> None:
    row = light_row("a", audio_paths=[str(wav(tmp_path / "a.wav", tone(0.5)))])
    (row,) = reader(Media.audio)([row])
    assert (row["start_s"], row["end_s"], row["audio_s"]) == (0.0, 0.5, 0.5)
    assert [len(w) for w in row["waveforms"]] == [RATE // 2]
    assert "images" not in row


def test_a_clip_that_is_longer_than_its_manifest_says_is_refused(tmp_path: Path) -> None:
    row = light_row("a", audio_paths=[str(wav(tmp_path / "a.wav", tone(1.5)))])
    for stated in (1.45, 1.5, 2.0, -1.0):  # rounded, or not known
        row["stated_s"] = stated
        assert reader(Media.audio)([row.copy()])[0]["audio_s"] == 1.5
    row["stated_s"] = 1.25
    with pytest.raises(InputError, match=r"a.wav' duration=1.25, but the file is 1.5 s; whole fi"):
        reader(Media.audio)([row])


def test_a_row_of_several_media_keeps_them_together_and_has_no_times(tmp_path: Path) -> None:
    file = str(wav(tmp_path / "a.wav", tone(0.5)))
    Image.new("RGB", (3, 2)).save(tmp_path / "p.png")
    row = light_row("a", audio_paths=[file, file], image_paths=[str(tmp_path / "p.png")])
    (row,) = reader(Media.audio, Media.image)([row])
    assert (row["start_s"], row["end_s"], row["audio_s"]) == (None, None, 1.0)
    assert len(row["waveforms"]) == 2
    assert [image.shape for image in row["images"]] == [(2, 3, 3)]


def test_a_row_of_text_has_no_media_and_no_times() -> None:
    (row,) = reader(Media.audio, Media.image)([light_row("a", prompt="Hello")])
    assert (row["waveforms"], row["images"], row["start_s"], row["audio_s"]) == ([], [], None, 0.0)


@pytest.mark.parametrize("media", [(Media.audio,), (Media.image,), (Media.audio, Media.image), ()])
def test_a_row_gets_the_columns_that_read_declares(media: tuple[Media, ...]) -> None:
    settings = SourceSettings(path=["."], media=list(media))
    row: Row = light_row("a", prompt="Hello")
    row["place"] = 0
    (row,) = Read(settings, Load(folder="nowhere"))([row])
    assert set(row) == {*Read.columns(settings).adds, "error"}


def test_every_sample_is_read() -> None:
    for file in sorted(SAMPLES.rglob("*.wav")):
        assert 0.5 * RATE < len(read_audio(file)) < 5 * RATE
    for file in sorted(SAMPLES.rglob("*.png")):
        assert read_image(file).shape[2] == 3
