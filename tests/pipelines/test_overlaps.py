from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.items import make_item
from pipelines.overlaps import parted


def said(*parts: tuple[float, float, str]) -> list[dict[str, Any]]:
    """Rows of one item: start, end, text."""
    rows = []
    for segment, (start, end, text) in enumerate(parts):
        rows.append(
            {
                "item": "a",
                "segment": segment,
                "start_s": start,
                "end_s": end,
                "text": text,
                "logprob": None,
                "size": "full",
                "note": None,
                "reference": None,
                "extra": None,
                "error_stage": None,
                "error_message": None,
            }
        )
    return rows


def whole(*parts: tuple[float, float, str]) -> str:
    text = make_item(said(*parts))["text"]
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize(
    ("before", "after", "together"),
    [
        ("we went down to the old har", "own to the old harbour and", None),
        ("We went down to the old.", "Down, to the old harbour and", None),
        ("we went down to the old harbour", "harbour and", "we went down to the old harbour and"),
        ("so he said of the king and all his men that they", "went home at the end of the day",
         "so he said of the king and all his men that they went home at the end of the day"),
        ("one two three", "four five six", "one two three four five six"),
        ("one two three a", "is a house with seven rooms", "one two three a is a house with seven "
         "rooms"),
        ("", "four five six", "four five six"),
        ("我们今天去老港口看船", "去老港口看船然后回家", "我们今天去老港口看船然后回家"),
    ],
)  # fmt: skip
def test_what_two_segments_both_heard_is_told_once(
    before: str, after: str, together: str | None
) -> None:
    text = whole((0.0, 10.0, before), (6.0, 20.0, after))
    if together is None:
        plain = text.lower().replace(",", "").replace(".", "")
        assert plain == "we went down to the old harbour and"
    else:
        assert text == together


def test_segments_meet_in_the_middle_of_what_they_share() -> None:
    first, second, third = parted(
        said((0.0, 10.0, "a b c d e"), (6.0, 20.0, "d e f g h"), (21.5, 25.0, "i j"))
    )
    assert (first["start_s"], first["end_s"]) == (0.0, 8.0)
    assert (second["start_s"], second["end_s"]) == (8.0, 20.0)
    assert (third["start_s"], third["end_s"]) == (21.5, 25.0)
    assert f"{first['text']} {second['text']}".split() == list("abcdefgh")


def test_what_does_not_overlap_is_left_as_it_is() -> None:
    rows = said((0.0, 0.1 + 0.2, "to be  "), (0.3, 1.0, " to be\n"))  # 0.1 + 0.2 > 0.3
    assert parted(rows) == rows
    rows = said((0.0, 10.0, "one two"), (6.0, 16.0, "one two"))
    rows[1]["segment"] = 2  # the one between has failed
    assert parted(rows) == rows
    untimed = said((0.0, 1.0, "a b"), (0.0, 1.0, "a b"))
    for row in untimed:
        row["start_s"] = row["end_s"] = None
    assert parted(untimed) == untimed


def test_the_rows_themselves_are_left_alone() -> None:
    rows = said((0.0, 10.0, "a b c d"), (6.0, 20.0, "c d e f"))
    parted(rows)
    assert rows == said((0.0, 10.0, "a b c d"), (6.0, 20.0, "c d e f"))


@given(data=st.data(), count=st.integers(30, 90), seconds=st.sampled_from([10, 12, 30]))
def test_no_word_is_lost_or_doubled(data: st.DataObject, count: int, seconds: int) -> None:
    """Evenly spoken words, heard in segments that share 4 s and mishear a word at their edges."""
    pool = st.sampled_from(["the", "a", "to", "of", "in", "cat", "house", "seven", "river"])
    words = [
        f"{data.draw(pool)}{number}" if number % 2 else data.draw(pool) for number in range(count)
    ]
    a_second = 2  # words
    parts, start = [], 0
    while start == 0 or start + 4 * a_second < count:
        heard = words[start : start + seconds * a_second]
        end = start + len(heard)
        if start:
            heard[0] = "~half"
        if end < count:
            heard[-1] = "ha~"
        parts.append((start / a_second, end / a_second, " ".join(heard)))
        start = end - 4 * a_second
    assert whole(*parts).split() == words
