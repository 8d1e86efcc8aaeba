from collections import Counter
from dataclasses import replace
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gemma3n import SettingsError
from pipelines.training.examples import Example, Kind
from pipelines.training.sampler import Sampler


def clips(lengths: list[float], weight: float = 1.0) -> list[Example]:
    return [
        Example(str(n), Kind.audio, f"{n}.wav", None, "hello", seconds, weight)
        for n, seconds in enumerate(lengths)
    ]


LENGTHS = st.lists(st.floats(0.5, 12), min_size=1, max_size=60)


@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_an_epoch_shows_every_clip_once_in_batches_that_fit(
    lengths: list[float], seed: int
) -> None:
    sampler = Sampler(clips(lengths), lambda e: e.seconds, 20, seed)
    seen: Counter[str] = Counter()
    number = 0
    while sum(seen.values()) < len(lengths):
        batch = sampler.batch(number)
        seen.update(example.item for example in batch)
        longest = max(example.seconds for example in batch)
        assert len(batch) == 1 or longest * len(batch) <= 20
        number += 1
    assert set(seen.values()) == {1}


@given(numbers=st.lists(st.integers(0, 40), min_size=1, max_size=5))
def test_a_batch_depends_on_seed_and_number_alone(numbers: list[int]) -> None:
    def make(seed: int) -> Sampler:
        return Sampler(clips([1.0, 2.0, 3.0, 4.0, 5.0]), lambda e: e.seconds, 6, seed)

    asked = make(3)
    assert [asked.batch(n) for n in numbers] == [make(3).batch(n) for n in numbers]


def test_weights_say_how_often_an_example_is_drawn() -> None:
    examples = [*clips([1.0] * 300, weight=0.25), *clips([2.0] * 300, weight=2.0)]
    sampler = Sampler(examples, lambda _: 1.0, 50, 0)
    drawn = Counter(e.seconds for number in range(100) for e in sampler.batch(number))
    assert 6 < drawn[2.0] / drawn[1.0] < 10


@given(lengths=LENGTHS, seed=st.integers(0, 9))
def test_joined_clips_are_all_said_once_and_are_no_longer_than_asked(
    lengths: list[float], seed: int
) -> None:
    sampler = Sampler(clips(lengths), lambda e: e.seconds, 1e9, seed, join=11)
    batch = sampler.batch(0)
    parts = [part for one in batch for part in one.parts or (one,)]
    assert Counter(part.item for part in parts) == Counter(str(n) for n in range(len(lengths)))
    for one in batch:
        assert not one.parts or one.seconds <= 11 + 1e-6
        assert one.answer == " ".join(["hello"] * max(1, len(one.parts)))


def test_rows_of_which_none_is_ever_drawn_are_refused() -> None:
    with pytest.raises(SettingsError, match="have weight 0"):
        Sampler(clips([1.0, 2.0], weight=0.0), lambda e: e.seconds, 6, 0)


def test_some_clips_stay_alone_and_one_with_a_prompt_always_does() -> None:
    plain = clips([1.0] * 200)
    asked = [replace(one, item="asked", prompt="Who speaks?") for one in clips([1.0] * 50)]
    batch = Sampler([*plain, *asked], lambda e: e.seconds, 1e9, 0, join=8).batch(0)
    assert sum(one.item == "asked" for one in batch) == 50
    alone = sum(not one.parts for one in batch) - 50
    assert 0.2 < alone / (len(batch) - 50) < 0.7
    assert max(len(one.parts) for one in batch) > 3


def test_a_late_batch_costs_no_more_than_an_early_one() -> None:
    sampler = Sampler(clips([1.0] * 10), lambda e: e.seconds, 5, 0)
    sampler.batch(199)  # of the hundredth epoch
    with patch("random.Random") as drawn:
        sampler.batch(198)
        sampler.batch(199)
    assert not drawn.called
