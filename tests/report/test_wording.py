import pytest

from pipelines.report import wording as say


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.012"), (0.9996, "1.00"), (12.345, "12.3"), (99.96, "100"),
     (12345.6, "12,346"), (None, "–"), (float("nan"), "–")],  # noqa: RUF001
)  # fmt: skip
def test_numbers_have_three_figures(value: float | None, text: str) -> None:
    assert say.figures(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.42, "0.420 s"), (16.87, "16.9 s"), (89.99, "90.0 s"), (192, "3 min 12 s"), (240, "4 min"),
     (7550, "2 h 6 min"), (360000, "100 h"), (None, "–")],  # noqa: RUF001
)  # fmt: skip
def test_times_are_said_as_people_say_them(seconds: float | None, text: str) -> None:
    assert say.duration(seconds) == text


def test_a_place_in_a_recording_is_a_clock() -> None:
    assert [say.clock(s) for s in (0, 4.25, 59.97, 3723.04)] == [
        "0:00.0", "0:04.2", "1:00.0", "1:02:03.0",
    ]  # fmt: skip


def test_what_cannot_be_seen_is_spelt_out_and_what_scripts_need_is_kept() -> None:
    assert say.plain("a\u202eb\x00\ud800") == "a\\u202eb\\x00\\ud800"
    family = "\U0001f468\u200d\U0001f469"
    persian = "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"
    assert say.plain(f"{family} {persian}\n") == f"{family} {persian}\n"


def test_signs_and_intervals_have_a_true_minus() -> None:
    assert (say.points(-0.0241), say.points(0.0)) == ("\u22122.4", "+0.0")
    assert say.interval(-0.01, 0.02) == "\u22121.0 to 2.0"
    assert say.interval(None, 0.02) == ""
    assert say.signed(-1.071) == "\u22121.07"
    assert say.cut("abcdef", 4) == "abcd [… 2 characters more]"
