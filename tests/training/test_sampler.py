from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

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
