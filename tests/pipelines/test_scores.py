import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.scores import (
    Part,
    difference,
    exact_match,
    normalised,
    row_parts,
    score,
    word_error_rate,
)


def test_case_and_punctuation_do_not_count_but_apostrophes_do() -> None:
    assert normalised("It's Raining,  she said!") == "it's raining she said"


def test_accents_marks_and_apostrophes_count_the_same_however_they_were_typed() -> None:
    assert normalised("Cafe\u0301") == normalised("caf\u00e9") == "caf\u00e9"
    assert normalised("it\u2019s") == "it's"
    assert normalised("\u0939\u093f\u0928\u094d\u0926\u0940!") == (
        "\u0939\u093f\u0928\u094d\u0926\u0940"
    )


def test_word_errors_are_a_share_of_what_should_have_been_said() -> None:
    references, texts = ["four zero seven", "hello"], ["four seven seven", "hello there"]
    assert word_error_rate(references, texts) == pytest.approx(2 / 4)
    assert word_error_rate(["one two"], [""]) == 1.0


def test_exact_matches_ignore_what_normalisation_takes_away() -> None:
    assert exact_match(["A cat.", "a dog"], ["a cat", "a cow"]) == 0.5


def test_a_row_adds_its_errors_to_each_score() -> None:
    parts = row_parts("a picture of a cat", "a picture of a red car")
    assert parts["wer"] == Part(2, 5)
    assert [parts[name].of for name in ("substitutions", "deletions", "insertions")] == [1, 0, 1]
    assert parts["cer"] == Part(5, 18)
    assert parts["exact"] == Part(0, 1)
    assert parts["f1"].of == pytest.approx(2 * 4 / (5 + 6))


def test_words_where_nothing_is_said_are_errors() -> None:
    assert row_parts("", "hello there")["wer"] == Part(2, 0)
    assert row_parts("...", "")["f1"] == Part(1, 1)


PARTS = st.lists(st.builds(Part, st.integers(0, 5), st.integers(1, 5)), min_size=1, max_size=20)


@given(parts=PARTS)
def test_an_interval_lies_within_the_rows_and_a_set_equals_itself(parts: list[Part]) -> None:
    found, none = score(parts), difference(parts, parts)
    if len(parts) < 10:
        assert found.low is None
        return
    assert found.low is not None
    assert found.high is not None
    shares = [part.of / part.out_of for part in parts]
    assert found.low <= found.high
    assert min(shares) - 1e-9 <= found.low
    assert found.high <= max(shares) + 1e-9
    assert none.low == none.high == 0


def test_more_rows_give_a_narrower_interval() -> None:
    def width(count: int) -> float:
        found = score([Part(n % 2, 1) for n in range(count)])
        assert found.value == 0.5
        assert found.low is not None
        assert found.high is not None
        return found.high - found.low

    assert width(1000) < width(10) / 5


def test_a_difference_is_paired() -> None:
    worse = [Part(1, 1), Part(1, 1), Part(0, 1)] * 10
    better = [Part(1, 1), Part(0, 1), Part(0, 1)] * 10
    found = difference(worse, better)
    assert found.value == pytest.approx(1 / 3)
    assert found.low is not None
    assert found.low > 0
