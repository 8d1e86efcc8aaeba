import pytest

from pipelines.intervals import Part
from pipelines.scores import METRICS, exact_match, row_parts, word_error_rate


def test_word_errors_are_a_share_of_what_should_have_been_said() -> None:
    references, texts = ["four zero seven", "hello"], ["four seven seven", "hello there"]
    assert word_error_rate(references, texts) == pytest.approx(2 / 4)
    assert word_error_rate(["one two"], [""]) == 1.0


def test_exact_matches_ignore_what_normalisation_takes_away() -> None:
    assert exact_match(["A cat.", "a dog"], ["a cat", "a cow"]) == 0.5


def test_a_row_adds_its_errors_to_each_score() -> None:
    parts = row_parts(["a picture of a cat"], "a picture of a red car")
    assert list(parts) == list(METRICS)
    assert parts["wer"] == Part(2, 5)
    assert [parts[name].of for name in ("substitutions", "deletions", "insertions")] == [1, 0, 1]
    assert parts["cer"] == Part(5, 18)
    assert parts["exact"] == Part(0, 1)
    assert parts["f1"].of == pytest.approx(2 * 4 / (5 + 6))


def test_words_where_nothing_is_said_are_errors() -> None:
    assert row_parts([""], "hello there")["wer"] == Part(2, 0)
    assert row_parts(["..."], "")["f1"] == Part(1, 1)


def test_of_several_references_the_nearest_counts() -> None:
    parts = row_parts(["the cat sat down", "a cat"], "The cat sat")
    assert parts["wer"] == Part(1, 4)
    assert parts["deletions"] == Part(1, 4)
    assert parts["exact"] == Part(0, 1)
    assert row_parts(["one", "two"], "two")["exact"] == Part(1, 1)
    assert row_parts(["one", "two"], "two")["cer"] == Part(0, 3)


def test_texts_are_compared_as_they_are_asked_to_be() -> None:
    assert row_parts(["A cat."], "a cat", str)["wer"] == Part(2, 2)
