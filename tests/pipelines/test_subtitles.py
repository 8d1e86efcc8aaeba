import re
from html import unescape

import pysubs2
import pytest

from pipelines.cues import Cue
from pipelines.subtitles import subtitles

ODD = [
    "a < b & c > d",
    "<i>not a tag</i> <unk>",
    "{\\an8}{\\p1} braces {ok}",
    "C:\\new\\Notes \\h",
    "00:00 --> 00:01",
    "WEBVTT",
    "&amp; &lt;",
]


def payload(file: str) -> list[str]:
    """What a reader that follows the format shows, cue by cue."""
    blocks = [block.split("\n") for block in file.strip().split("\n\n")]
    return ["\n".join(block[2:]) for block in blocks if "-->" in "".join(block[1:2])]


@pytest.mark.parametrize("text", ODD)
def test_webvtt_shows_the_text_as_it_is(text: str) -> None:
    file = subtitles([Cue(0, 1000, (text, "second"))], "vtt")
    assert file.startswith("WEBVTT\n\n1\n00:00:00.000 --> 00:00:01.000\n")
    (shown,) = payload(file)
    assert not re.search("[<>]|&(?!lt;|gt;|amp;)", shown)
    assert unescape(shown) == f"{text}\nsecond"


@pytest.mark.parametrize("text", ODD)
def test_subrip_shows_the_text_as_it_is_and_no_reader_takes_it_for_tags(text: str) -> None:
    file = subtitles([Cue(0, 1000, (text, "second"))], "srt")
    (shown,) = payload(file)
    assert not re.search(r"<[a-z/]|\{\\|-->", shown)
    assert shown.replace("\u2060", "") == f"{text}\nsecond"
    (event,) = pysubs2.SSAFile.from_string(file)
    assert event.text.replace("\u2060", "") == f"{text}\\Nsecond"


def test_cues_are_numbered_with_their_times_in_milliseconds() -> None:
    cues = [Cue(1, 999, ("a",)), Cue(3_600_000, 35_999_999, ("b", "c"))]
    assert subtitles(cues, "srt") == (
        "1\n00:00:00,001 --> 00:00:00,999\na\n\n2\n01:00:00,000 --> 09:59:59,999\nb\nc\n\n"
    )


@pytest.mark.parametrize(("kind", "empty"), [("srt", ""), ("vtt", "WEBVTT\n\n")])
def test_no_cues_are_a_file_without_any(kind: str, empty: str) -> None:
    assert subtitles([], kind) == empty
