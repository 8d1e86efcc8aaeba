import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.file_names import FileNames

ENDINGS = ("txt", "srt")


def names_of(items: Sequence[str], others: Sequence[str] = ()) -> list[str]:
    with closing(FileNames(items, ENDINGS, lambda name: name in others)) as names:
        return [names[item] for item in items]


@pytest.mark.parametrize(
    ("items", "names"),
    [
        (["a.wav", "b/c.mp3"], ["a", "b/c"]),
        (["a.wav", "a.mp3", "b.wav"], ["a.wav", "a.mp3", "b"]),
        (["A.wav", "a.mp3"], ["A.wav", "a.mp3"]),
        (["é.wav", "e\u0301.mp3"], ["é.wav", "e\u0301.mp3"]),
        (["é", "e\u0301"], ["é", "e\u0301-2"]),
        (["v1.5", "a.b.wav"], ["v1.5", "a.b"]),
        (["../x", "/etc/passwd", "a/../../b"], ["__/x", "_/etc/passwd", "a/__/__/b"]),
        (["a\\b", "c:d", "e\0f\n"], ["a_b", "c_d", "e_f_"]),
        (["", ".", "a/"], ["_", "_-2", "a/_"]),
        (["a", "a.txt/b"], ["a-2", "a.txt/b"]),
        (["A", "a.SRT/b"], ["A-2", "a.SRT/b"]),
        (["a:b", "a_b", "a?b", "a_b-2"], ["a_b", "a_b-2", "a_b-3", "a_b-2-2"]),
        (["a_b-2", "a:b", "a_b"], ["a_b-2", "a_b", "a_b-3"]),
        (["x" * 300 + ".wav"], ["x" * 200]),
        (["/".join(["dir"] * 300)], ["dir_" * 50]),
    ],
)
def test_every_item_has_a_name_of_its_own_below_the_folder(
    items: list[str], names: list[str]
) -> None:
    assert names_of(items) == names


def test_a_name_that_is_somebody_elses_with_any_ending_is_not_given() -> None:
    assert names_of(["a", "b"], others=["a.txt", "a-2.srt"]) == ["a-3", "b"]


def test_an_item_that_was_not_listed_has_no_name() -> None:
    with closing(FileNames(["a"], ENDINGS)) as names, pytest.raises(KeyError, match="b"):
        names["b"]


PIECES = st.sampled_from(["a", "A", "..", ".", "", "a.wav", "a.txt", "~", "\\", "é" * 150, "\n"])


@given(st.lists(st.lists(PIECES, max_size=4).map("/".join), unique=True, max_size=6))
def test_whatever_items_are_called_their_files_can_be_written(items: list[str]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for item, base in zip(items, names_of(items), strict=True):
            for ending in ENDINGS:
                path = folder / ending / f"{base}.{ending}"
                assert (folder / ending) in path.resolve().parents
                path.parent.mkdir(parents=True, exist_ok=True)
                assert not path.exists()
                path.write_text(item)
