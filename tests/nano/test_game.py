import struct
import zlib
from pathlib import Path

import pytest

from pipelines.nano.game import Archive, lines, transcript


def _append(data: bytes, words: str, align: int) -> bytes:
    """Put a string with its length behind data; one that is not empty ends on a multiple."""
    data += bytes([len(words)]) + words.encode("cp437")
    return data + b"\0" * (-len(data) % align if words else 0)


def _dialogue(talk: int, others: list[str], joes: list[str]) -> bytes:
    """A `.DOG` of no levels: Joe's strings from byte 32 on, the other person's after them."""

    def table(data: bytes, texts: list[str]) -> bytes:
        for number, text in enumerate(texts):
            data = _append(data + struct.pack(">hh", 0, number), text, 4)
        return data

    joe = table(b"\0" * 32, joes)
    both = table(joe, others)
    head = struct.pack(">hhhhh", 0, 0, talk, len(joes), len(others)) + b"\0" * 12
    head += struct.pack(">H", len(joe)) + b"\0" * 8
    return b"\0" * 20 + head + both[32:]


def _scene(texts: list[str]) -> bytes:
    """A `.CUT`: a string that nobody says comes before those of the scene."""
    data = struct.pack(">hhhhH", 0, len(texts), 0, 0, 10)
    for text in ["nobody", *texts]:
        data = _append(data, text, 2)
    return b"\0" * 20 + data


def _archive(path: Path, files: dict[str, bytes]) -> Archive:
    table, data, at = b"", b"", 15 + 21 * len(files)
    for name, content in files.items():
        table += struct.pack(">12sBII", name.encode(), 0, at + len(data), len(content))
        data += content
    head = b"QTBLPEM10\0\0\0\0" + struct.pack(">H", len(files))
    path.write_bytes(head + table + data)
    return Archive(path)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    files = {
        "PILOT.DOG": _dialogue(2, ["Hello there, Mr. King!", "*F1Go away.*GDNow."], ["Hi^_ ..."]),
        "JUNG.CUT": _scene(["Run!", "", "*F1A snake!"]),
        "QUEEN2.JAS": b"It's a rock.\r\nIt costs $5.",
    }
    clips = ["020000P1", "020001P1", "020001P2", "020000J1", "JOE00411", "JOE00421"]
    clips += ["JUNG_001", "JUNG_011", "JUNG_031", "JUNG_032"]
    return _archive(tmp_path / "queen.1c", files | {f"{clip}.SB": clip.encode() for clip in clips})


def test_every_clip_gets_the_line_that_its_name_points_at(archive: Archive) -> None:
    found = {line.clip: (line.speaker, line.text) for line in lines(archive)}
    assert found == {
        "020000P1": ("game/02", "hello there mister king"),
        "020001P2": ("game/02", "now"),
        "020000J1": ("game/joe", "hi"),
        "JUNG_011": ("game/JUNG_", "run"),
        "JUNG_032": ("game/JUNG_", "a snake"),
        "JOE00411": ("game/joe", "it's a rock"),
    }


def test_entries_are_read_by_name(archive: Archive) -> None:
    assert archive.read("JOE00421.SB") == b"JOE00421"


def test_a_reserved_clip_and_whoever_says_the_same_are_left_out(tmp_path: Path) -> None:
    numbers = range(41, 200)
    names = {number: f"JOE{number:04d}1" for number in numbers}
    reserved = next(n for n in numbers if zlib.crc32(names[n].encode()) % 20 == 7)
    free = [n for n in numbers if zlib.crc32(names[n].encode()) % 20 != 7][:3]
    texts = dict.fromkeys(numbers, "")
    texts |= {
        reserved: "I can not.",
        free[0]: "I can not!",
        free[1]: "I can.",
        free[2]: "Ten of clubs",
    }
    files = {"QUEEN2.JAS": "\n".join(texts[n] for n in numbers).encode()}
    archive = _archive(tmp_path / "q", files | {f"{name}.SB": b"" for name in names.values()})
    assert [line.text for line in lines(archive)] == ["i can"]


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        ("You couldn't, *could* you?", "you couldn't could you"),
        ("...into Dinosaur People!", "into dinosaur people"),
        ("Hello Dr. Ironstein", "hello doctor ironstein"),
        ("'Tis me", "tis me"),
        ("Super-soldier^_", "super soldier"),
        ("The C.I.A.?", None),
        ("(sigh)", None),
        ("In 1948", None),
        ("...", None),
    ],
)
def test_print_becomes_words_or_nothing(printed: str, said: str | None) -> None:
    assert transcript(printed) == said
