"""The resource file of Flight of the Amazon Queen -> what each of its voice clips says.

The talkie keeps a clip (an MP3 of 11 kHz) for every line. Dialogue texts are in `.DOG`, scenes
in `.CUT`, what Joe thinks of things in `QUEEN2.JAS`; a line's place there gives its clip's name.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from pipelines.nano.split import Split, game_clip, is_dev_sentence

_HEADER = 20  # bytes before the data of a .DOG or .CUT
_LEVEL = 96  # bytes a level of a dialogue's table
_FIRST_THOUGHT = 41  # number of the clip of the first line of QUEEN2.JAS
_SHORTENED = {"mr": "mister", "mrs": "missus", "dr": "doctor", "ok": "okay"}


@dataclass(frozen=True)
class Line:
    """One voice clip's name and words."""

    clip: str  # base name in the archive
    speaker: str
    text: str  # as transcripts write it


class Archive:
    """Reads entries out of `queen.1c`."""

    def __init__(self, path: Path) -> None:
        self.data = path.read_bytes()
        count = struct.unpack_from(">H", self.data, 13)[0]
        self.entries: dict[str, tuple[int, int]] = {}  # name -> first byte, bytes
        for place in range(count):
            name, _, start, size = struct.unpack_from(">12sBII", self.data, 15 + 21 * place)
            self.entries[name.split(b"\0")[0].decode("latin1").strip()] = (start, size)

    def read(self, name: str) -> bytes:
        start, size = self.entries[name]
        return self.data[start : start + size]

    def named(self, ending: str) -> list[str]:
        return sorted(name for name in self.entries if name.endswith(ending))


def lines(archive: Archive) -> list[Line]:
    """What is said in every clip whose text was found, sorted by clip.

    Reserved clips are left out, and so is every clip that says what a reserved one says.
    """
    found: dict[str, Line] = {}
    for line in [*_thoughts(archive), *_scenes(archive), *_dialogues(archive)]:
        text = transcript(line.text)
        if text and f"{line.clip}.SB" in archive.entries:
            found[line.clip] = replace(line, text=text)
    kept_back = {line.text for line in found.values() if game_clip(line.clip) is Split.reserved}
    return [
        found[clip]
        for clip in sorted(found)
        if game_clip(clip) is Split.train
        and (found[clip].text not in kept_back or " " not in found[clip].text)
        and not is_dev_sentence(found[clip].text)
    ]


def transcript(printed: str) -> str | None:
    """Printed words -> lower case and apostrophes; None where one cannot know what is said."""
    text = printed.lower().replace("`", "'")
    if re.search(r"[^a-z' .,!?;:\"*^_-]|\b[a-z]\.[a-z]\b", text):
        return None
    words = re.sub(r"[^a-z']+", " ", text).split()
    words = [_SHORTENED.get(word, word) for word in words]
    words = [word.strip("'") if word.startswith("'") else word for word in words]
    words = [word for word in words if re.search("[a-z]", word)]
    return " ".join(words) or None


def _dialogues(archive: Archive) -> Iterator[Line]:
    for name in archive.named(".DOG"):
        data = archive.read(name)[_HEADER:]
        levels, talk = abs(struct.unpack_from(">h", data)[0]), struct.unpack_from(">h", data, 4)[0]
        joes, others = struct.unpack_from(">hh", data, 6)
        first = struct.unpack_from(">H", data, 22)[0]
        for start, count, whose in ((first, others, "P"), (32 + _LEVEL * levels, joes, "J")):
            for number, text in _numbered(data, start, count):
                prefix = f"{talk:2d}{number & 0xFFFF:4x}{whose}".replace(" ", "0").upper()
                speaker = "joe" if whose == "J" else f"{talk:02d}"
                for part, said in enumerate(_parts(text), start=1):
                    yield Line(f"{prefix}{part:X}", f"game/{speaker}", said)


def _scenes(archive: Archive) -> Iterator[Line]:
    for name in archive.named(".CUT"):
        data = archive.read(name)[_HEADER:]
        count, start = (
            abs(struct.unpack_from(">h", data, 2)[0]),
            struct.unpack_from(">H", data, 8)[0],
        )
        _, at = _string(data, start, 2)
        prefix = name.removesuffix(".CUT").ljust(5, "_")
        for number in range(1, count + 1):
            if at >= len(data):
                break
            text, at = _string(data, at, 2)
            for part, said in enumerate(_parts(text), start=1):
                yield Line(f"{prefix}{number:02d}{part:X}".upper(), f"game/{prefix}", said)


def _thoughts(archive: Archive) -> Iterator[Line]:
    texts = archive.read("QUEEN2.JAS").decode("cp437").replace("\r", "").split("\n")
    for number, text in enumerate(texts, start=_FIRST_THOUGHT):
        for part, said in enumerate(_parts(text), start=1):
            yield Line(f"JOE{number:04d}{part:X}", "game/joe", said)


def _numbered(data: bytes, at: int, count: int) -> Iterator[tuple[int, str]]:
    """Strings of a dialogue, each with the number that names its clip."""
    for _ in range(count):
        if at + 4 >= len(data):
            return
        number = struct.unpack_from(">h", data, at + 2)[0]
        text, at = _string(data, at + 4, 4)
        yield number, text


def _string(data: bytes, at: int, align: int) -> tuple[str, int]:
    """A string with its length before it -> the string, the place after it."""
    size = data[at]
    text = data[at + 1 : at + 1 + size].split(b"\0")[0].decode("cp437")
    end = at + 1 + size
    return text, end + (-end % align if size else 0)


def _parts(text: str) -> Iterator[str]:
    """The pieces between a line's stage directions (`*F1`, `*XY1234567…`); each has its own clip.

    Text before a direction to grab (`*GD`, `*GM`) is not spoken and has no number.
    """
    spoken = ""
    at = 0
    while at < len(text):
        if text[at] != "*":
            spoken += text[at]
            at += 1
            continue
        command = text[at + 1 : at + 3]
        at += 14 if command == "XY" else 3
        if command not in ("GD", "GM"):
            yield spoken
        spoken = ""
    if spoken:
        yield spoken
