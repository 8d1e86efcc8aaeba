from typing import Any

from pipelines.choices import choices_of
from pipelines.normalisers import normalised
from pipelines.scored import Scoring


def segments(item: str, *said: tuple[str, float | None, int]) -> list[dict[str, Any]]:
    return [
        {
            "item": item,
            "segment": number,
            "place": 0,
            "start_s": 10.0 * number,
            "end_s": 10.0 * number + 9,
            "text": text,
            "logprob": logprob,
            "new_tokens": tokens,
            "reference": "one two three four",
            "extra": None,
            "note": None,
            "size": "s",
            "error_stage": None,
            "error_message": None,
        }
        for number, (text, logprob, tokens) in enumerate(said)
    ]


def test_the_least_sure_segments_are_answered_by_the_large_size_first() -> None:
    small = segments("a", ("x two", -0.1, 2), ("y", -3.0, 1), ("z", -1.0, 1))
    large = segments("a", ("one two", -0.2, 5), ("three", -0.2, 6), ("four", -0.2, 7))
    (choice,) = choices_of([small], [large], Scoring(normalised), "wer")
    assert choice.logprobs == [-3.0, -1.0, -0.1]
    assert choice.again_tokens == [6, 7, 5]
    assert (choice.small_tokens, choice.large_tokens) == (4, 18)
    assert [answer.part.of for answer in choice.answers] == [3, 2, 1, 0]
    assert [answer.counts for answer in choice.answers] == [(3, 4), (2, 4), (1, 4), (0, 4)]
    assert choice.large.part.of == 0


def test_what_the_small_size_said_nothing_of_stays_so() -> None:
    small = segments("a", ("one two", -0.1, 2), ("", None, 0))
    large = segments("a", ("one two", -0.2, 5), ("three four", -0.2, 6))
    (choice,) = choices_of([small], [large], Scoring(normalised), "wer")
    assert choice.logprobs == [-0.1]
    assert [answer.part.of for answer in choice.answers] == [2, 2]
    assert choice.large.part.of == 0


def test_an_item_that_one_size_lacks_is_left_out() -> None:
    one = segments("a", ("one", -0.1, 1))
    assert list(choices_of([one], [segments("b", ("one", -0.1, 1))], Scoring(str), "wer")) == []
