import pytest

from pipelines.scores import exact_match, normalised, word_error_rate


def test_case_and_punctuation_do_not_count_but_apostrophes_do() -> None:
    assert normalised("It's Raining,  she said!") == "it's raining she said"


def test_word_errors_are_a_share_of_what_should_have_been_said() -> None:
    references, texts = ["four zero seven", "hello"], ["four seven seven", "hello there"]
    assert word_error_rate(references, texts) == pytest.approx(2 / 4)
    assert word_error_rate(["one two"], [""]) == 1.0


def test_exact_matches_ignore_what_normalisation_takes_away() -> None:
    assert exact_match(["A cat.", "a dog"], ["a cat", "a cow"]) == 0.5
