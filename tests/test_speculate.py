from collections import Counter
from itertools import product
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gemma3n
from gemma3n import Gemma3n, NestedSize, SettingsError
from gemma3n.choose import distribution, draw
from gemma3n.draft_length import DraftLength
from gemma3n.generate import Completion, Generation, Prompt, complete
from gemma3n.policy import SPECULATIVE, Policy
from gemma3n.sampling import Sampling

SMALL = NestedSize.from_skip([], 48, name="narrow")
PROMPTS = st.lists(st.lists(st.integers(4, 509), min_size=1, max_size=30), min_size=1, max_size=4)


class Always(DraftLength):
    """Lengths that were fixed beforehand, one a round, over and over."""

    def __init__(self, lengths: list[int]) -> None:
        super().__init__(max(lengths))
        self.lengths, self.rounds, self.right = lengths, 0, 0

    def choose(self) -> int:
        self.rounds += 1
        return self.lengths[self.rounds % len(self.lengths)]

    def round(self, length: int, right: list[int], draft: float, check: float) -> None:
        self.right += sum(right)


def speculate(
    model: Gemma3n,
    rows: list[Prompt],
    sampling: Sampling,
    length: DraftLength | None = None,
    small: NestedSize = SMALL,
    slots: int = 3,
) -> list[Completion]:
    policy = Policy(SPECULATIVE, small, draft_tokens=4 if length is None else length.longest)
    generation = Generation(model, sampling, policy=policy, slots=slots)
    if length is not None:
        generation._lane(model.size, 0).length = length  # type: ignore[attr-defined]
    return complete(generation, rows)


@settings(max_examples=8)
@given(
    prompts=PROMPTS,
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=4).filter(any),
    new=st.integers(1, 30),
)
def test_greedy_drafts_change_no_token_whatever_their_lengths(
    model: Gemma3n, prompts: list[list[int]], lengths: list[int], new: int
) -> None:
    sampling = Sampling(new, stop_ids=[])
    rows = [Prompt(ids) for ids in prompts]
    alone = model.complete(rows, sampling)
    drafted = speculate(model, rows, sampling, Always(lengths))
    for one, other in zip(alone, drafted, strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(
            torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0
        )


def test_drafts_change_no_token_past_the_sliding_window(model: Gemma3n) -> None:
    rows = [Prompt([2, *range(10, 10 + n)]) for n in (50, 3, 17)]
    sampling = Sampling(40, stop_ids=[])
    alone = model.complete(rows, sampling)
    drafted = speculate(model, rows, sampling, Always([5, 0, 0, 0, 3, 1]))
    assert [row.token_ids for row in drafted] == [row.token_ids for row in alone]


def test_a_draft_by_the_same_weights_is_always_right(model: Gemma3n) -> None:
    same = NestedSize.from_skip([], tuple(model.config.text.intermediate_size), name="same")
    length = Always([3])
    row = Prompt([2, 9, 8])
    answer = speculate(model, [row], Sampling(12, stop_ids=[]), length, same)[0]
    assert answer.token_ids == model.complete([row], Sampling(12, stop_ids=[]))[0].token_ids
    # The prompt gives the first token; then 3 rounds of 4 would make 13, so the last is cut short.
    assert (length.rounds, length.right) == (3, 3 + 3 + 2)


def test_stop_ids_and_stop_texts_end_a_row_within_a_draft(model: Gemma3n) -> None:
    row = Prompt([2, 105, 77])
    whole = model.complete([row], Sampling(12, stop_ids=[]))[0]
    for sampling in (
        Sampling(12, stop_ids=[whole.token_ids[4]]),
        Sampling(12, stop_ids=[], stop=["ain"]),
    ):
        alone = model.complete([row], sampling)[0]
        drafted = speculate(model, [row, row], sampling, Always([4]))
        for other in drafted:
            assert (other.text, other.token_ids, other.finish) == (
                alone.text,
                alone.token_ids,
                "stop",
            )


def test_sampled_drafts_follow_the_large_size(model: Gemma3n) -> None:
    sampling, count = Sampling(3, temperature=2.0, top_k=3, stop_ids=[]), 1500
    rows = [Prompt([2, 9, 8], seed=seed) for seed in range(count)]
    answers = speculate(model, rows, sampling, Always([2]), slots=100)
    found = Counter(tuple(answer.token_ids) for answer in answers)
    expected = joint(model, [2, 9, 8], sampling)
    assert found.keys() <= expected.keys()
    square = sum((found[ids] - count * p) ** 2 / (count * p) for ids, p in expected.items())
    assert square < 54.1, "26 degrees of freedom: 1 in 1,000 of the seeds would be above"


def joint(model: Gemma3n, prompt: list[int], sampling: Sampling) -> dict[tuple[int, ...], float]:
    """Probability of every answer of three tokens."""

    def after(ids: list[int]) -> dict[int, float]:
        weights = distribution(model.logits(torch.tensor([ids]))[:, -1], sampling)[0]
        return {int(i): float(weights[i]) for i in weights.nonzero().flatten()}

    return {
        (a, b, c): p * q * r
        for a, p in after(prompt).items()
        for b, q in after([*prompt, a]).items()
        for c, r in after([*prompt, a, b]).items()
    }


def test_a_sampled_answer_does_not_depend_on_batch_mates(model: Gemma3n) -> None:
    sampling = Sampling(9, temperature=3.0, stop_ids=[])
    rows = [Prompt([2, 9, 8][: 2 + seed % 2], seed=seed) for seed in range(6)]
    alone = [speculate(model, [row], sampling)[0].token_ids for row in rows]
    assert alone[0] != alone[2]
    for slots in (2, 6):
        together = speculate(model, rows, sampling, slots=slots)
        assert [answer.token_ids for answer in together] == alone


def test_the_same_size_drafts_if_it_is_loaded_by_itself(checkpoint_folder: Path) -> None:
    def loaded(precision: str) -> Gemma3n:
        return gemma3n.load(checkpoint_folder, parts=["text"], precision=precision, device="cpu")

    model = loaded("float32")
    policy = Policy(SPECULATIVE, "full")
    for draft, has_drafted in ((None, False), (loaded("bfloat16"), True)):
        generation = Generation(
            model, Sampling(8, stop_ids=[]), policy=policy, slots=1, draft=draft
        )
        complete(generation, [Prompt([2, 9, 8])])
        assert (generation.counts()["drafted"] > 0) == has_drafted


def test_no_slots_are_refused(model: Gemma3n) -> None:
    with pytest.raises(SettingsError, match="slots=0; at least 1 row is decoded at once"):
        Generation(model, Sampling(8), slots=0)


def test_draws_follow_their_weights_and_never_take_a_zero() -> None:
    weights = torch.tensor([[0.0, 2.0, 0.0, 6.0, 0.0]])
    draws = torch.cat([torch.arange(0.5, 1000) / 1000, torch.tensor([0.0, 1.0])])
    found = draw(weights.expand(len(draws), 5), draws).bincount(minlength=5)
    assert found.tolist() == [0, 251, 0, 751, 0]


@pytest.mark.parametrize(
    ("acceptance", "draft", "check", "expected"),
    [
        (1.0, 0.1, 1.1, 4),  # cheap and right: as long as it may be
        (0.0, 0.1, 1.1, 0),  # never right: switched off
        (0.9, 2.0, 1.0, 0),  # right, but slower than the large size itself
        (0.5, 0.3, 1.0, 1),
    ],
)
def test_a_draft_is_as_long_as_it_pays(
    acceptance: float, draft: float, check: float, expected: int
) -> None:
    length, seeded = DraftLength(4), torch.Generator().manual_seed(0)
    chosen = []
    for _ in range(300):
        chosen.append(length.choose())
        if chosen[-1] == 0:
            length.plain(1.0)
            continue
        right = [leading(torch.rand(chosen[-1], generator=seeded) < acceptance) for _ in range(4)]
        length.round(chosen[-1], right, draft * chosen[-1], check)
    assert Counter(chosen[50:]).most_common(1)[0][0] == expected
    if expected == 0:
        assert 1 <= sum(n > 0 for n in chosen[50:]) <= 12, "tried again, now and then"


def leading(right: Tensor) -> int:
    return int(right.long().cumprod(0).sum())


def test_expected_tokens_follow_the_paper() -> None:
    length = DraftLength(8)
    length.plain(1.0)
    for _ in range(500):
        length.round(4, [2] * 8, draft=0.0, check=1.0)  # 2 of 3 tried are right
    assert length.acceptance == pytest.approx(2 / 3, abs=1e-3)
    for n, a in product((1, 4), [length.acceptance]):
        assert length.speed(n) == pytest.approx((1 - a ** (n + 1)) / (1 - a), rel=1e-6)
