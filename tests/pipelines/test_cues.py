from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.cues import LONGEST_MS, Cue, cues
from pipelines.scripts import columns


def segment(text: str, start_s: float | None = 0.0, end_s: float | None = 10.0) -> dict[str, Any]:
    return {"text": text, "start_s": start_s, "end_s": end_s}


def shown(text: str, seconds: float) -> list[str]:
    return ["|".join(cue.lines) for cue in cues([segment(text, 0, seconds)])]


def test_what_fits_is_one_cue_as_long_as_its_segment() -> None:
    assert cues([segment(" Good\nmorning. ", 1.2345, 3.0)]) == [Cue(1234, 3000, ("Good morning.",))]


def test_cues_end_with_sentences_first() -> None:
    text = "It was late in the evening. The train from the north had not arrived yet."
    assert shown(text, 6) == [
        "It was late in the evening.",
        "The train from the north|had not arrived yet.",
    ]


def test_then_with_clauses_then_with_words() -> None:
    text = (
        "When the old bridge over the river was finally closed, people who lived on the far side "
        "had to walk for almost an hour every single day to reach the market"
    )
    assert shown(text, 12) == [
        "When the old bridge over the|river was finally closed,",
        "people who lived on the|far side had to walk for",
        "almost an hour every single|day to reach the market",
    ]


def test_short_sentences_share_a_cue() -> None:
    assert shown("Yes. No. I do not know.", 2) == ["Yes. No. I do not know."]


def test_a_title_or_an_initial_ends_no_sentence() -> None:
    text = "Then we all went over to see Dr. Miller and his friend J. Smith at the clinic downtown"
    assert not any(cue.endswith(("Dr.", "J.")) for cue in shown(text, 6))


def test_lines_are_about_equal_and_end_with_clauses() -> None:
    assert shown("We went to the market early, and then we came home again.", 5) == [
        "We went to the market early,|and then we came home again."
    ]
    assert shown("one two three four five six seven eight nine ten", 4) == [
        "one two three four five|six seven eight nine ten"
    ]


def test_chinese_is_cut_between_characters_and_never_before_a_full_stop() -> None:
    text = "我们今天讨论电池是怎么制造的价格是多少以及为什么锂的价格对几乎每个开车的人都很重要。"
    lines = "|".join(shown(text, 8)).split("|")
    assert "".join(lines) == text
    assert all(len(line) <= 21 for line in lines)
    assert not any(line.startswith("。") for line in lines)


def test_times_within_a_segment_are_shares_by_width() -> None:
    text = f"{'a' * 40} {'b' * 40} {'c' * 40} {'d' * 40}"
    first, second = cues([segment(text, 10, 20)])
    assert (first.start_ms, second.end_ms) == (10_000, 20_000)
    assert first.end_ms == second.start_ms == 10_000 + 10_000 * 82 // 163
    assert first.lines == ("a" * 40, "b" * 40)


def test_a_cue_does_not_stay_longer_than_seven_seconds() -> None:
    assert cues([segment("Hello.", 5, 35)]) == [Cue(5000, 5000 + LONGEST_MS, ("Hello.",))]


def test_slow_speech_is_cut_so_that_a_cue_is_there_while_it_lasts() -> None:
    found = cues([segment("one two three four five six seven eight nine ten", 0, 26)])
    assert len(found) > 2
    assert sum(cue.end_ms - cue.start_ms for cue in found) > 0.9 * 26_000


def test_no_cue_is_over_in_a_moment_if_the_segment_has_time() -> None:
    text = "No. " + "and so on " * 12 + "yes."
    for seconds in (6, 9, 12):
        assert min(c.end_ms - c.start_ms for c in cues([segment(text, 0, seconds)])) >= 1000


def test_segments_that_overlap_share_the_overlap() -> None:
    found = cues([segment("one", 0, 4), segment("two", 3, 6)])
    assert found == [Cue(0, 3500, ("one",)), Cue(3500, 6000, ("two",))]


def test_no_text_or_no_times_are_no_cue() -> None:
    assert cues([segment(" \n"), segment("a", None, None), segment("b"), segment("\x00")]) == [
        Cue(0, 7000, ("b",))
    ]


@pytest.mark.parametrize(("start", "end"), [(5.0, 5.0), (5.0, 4.0), (-1.0, 0.0)])
def test_a_segment_without_duration_still_shows_its_text(start: float, end: float) -> None:
    (cue,) = cues([segment("one", start, end)])
    assert cue.end_ms == cue.start_ms + 1


WORDS = st.sampled_from(
    [
        "a",
        "No.",
        "well,",
        "forty-two",
        "x" * 100,
        "你好。",
        "一" * 30,
        "สวัสดี",
        "e\u0301",
        "–",  # noqa: RUF001
        "👩\u200d🚀",
    ]
)
TIMES = st.floats(0, 100)


@given(st.lists(st.tuples(st.lists(WORDS, max_size=40).map(" ".join), TIMES, TIMES), max_size=4))
def test_whatever_was_said_can_be_read(said: list[tuple[str, float, float]]) -> None:
    segments = [segment(text, min(a, b), max(a, b)) for text, a, b in said]
    found = cues(segments)
    spoken = "".join(text for text, *_ in said)
    assert "".join("".join(cue.lines) for cue in found).replace(" ", "") == spoken.replace(" ", "")
    last = 0
    for cue in found:
        assert last <= cue.start_ms < cue.end_ms <= cue.start_ms + LONGEST_MS
        last = cue.end_ms
        assert len(cue.lines) <= 2
        assert all(0 < columns(line) <= 42 and line == line.strip() for line in cue.lines)


@given(st.lists(WORDS, min_size=1, max_size=60).map(" ".join), st.integers(1, 30))
def test_cues_stay_within_their_segment_and_as_fast_as_it(text: str, seconds: int) -> None:
    found = cues([segment(text, 3, 3 + seconds)])
    assert found[0].start_ms == 3000
    assert found[-1].end_ms <= 3000 + seconds * 1000
    rate = columns(" ".join(text.split())) / seconds
    for cue in found:
        held = cue.end_ms - cue.start_ms
        if held < LONGEST_MS:
            assert sum(map(columns, cue.lines)) / (held + 2) * 1000 <= rate * 1.01
