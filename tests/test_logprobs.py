from itertools import pairwise

import pytest
import torch

import gemma3n
from gemma3n.errors import InputError
from gemma3n.logprobs import Question, likelihoods

CONTEXT, TARGET, OTHER = [2, 9, 8, 30, 41], [11, 12, 13], [11, 12, 40]


def question(context: list[int], *targets: list[int]) -> Question:
    return Question([*context, *targets[0][:-1]], targets)


def by_logits(model: gemma3n.Gemma3n, context: list[int], target: list[int]) -> list[float]:
    ids = context + target
    logprobs = model.logits(torch.tensor([ids]))[0].float().log_softmax(-1)
    at = range(len(context), len(ids))
    return [logprobs[n - 1, ids[n]].item() for n in at]


@pytest.mark.parametrize("chunk", [512, 3])
def test_a_target_is_as_probable_as_the_logits_say(model: gemma3n.Gemma3n, chunk: int) -> None:
    rows = [question(CONTEXT, TARGET, OTHER), question([2, 5], [6]), question([2], [7, 7, 7, 7, 7])]
    found = likelihoods(model, rows, chunk=chunk)
    for row, likely in zip(rows, found, strict=True):
        for target, one in zip(row.targets, likely, strict=True):
            context = list(row.token_ids[: len(row.token_ids) - len(target) + 1])
            want = by_logits(model, context, list(target))
            assert one.logprobs == pytest.approx(want, abs=1e-4)
            assert one.total == pytest.approx(sum(want), abs=1e-4)


def test_what_is_generated_greedily_is_greedy_and_nothing_else_is(model: gemma3n.Gemma3n) -> None:
    (said,) = model.generate_ids([CONTEXT], max_new_tokens=4, stop_ids=[])
    wrong = [*said[:-1], (said[-1] + 1) % 60]
    ((right, other),) = likelihoods(model, [question(CONTEXT, said, wrong)])
    assert right.greedy
    assert not other.greedy
    assert right.total > other.total


def test_a_nested_size_judges_as_itself(model: gemma3n.Gemma3n) -> None:
    sizes = [gemma3n.NestedSize.from_layers(None, width, model.config.text) for width in (8, 16)]
    each = [likelihoods(model, [question(CONTEXT, TARGET)], model.running(s)) for s in sizes]
    small, large = (found[0][0].total for found in each)
    assert small != large
    want = model.logits(torch.tensor([CONTEXT + TARGET]), nested=sizes[0])[0].log_softmax(-1)
    ids = CONTEXT + TARGET
    at = [(n, b) for n, (_, b) in enumerate(pairwise(ids))][-len(TARGET) :]
    assert small == pytest.approx(sum(want[n, b].item() for n, b in at), abs=1e-4)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (Question([], []), "a question has 0 tokens"),
        (Question([2], [[]]), "a target has 0 tokens"),
        (Question([2], [[5, 6]]), "Put at least <bos> before it"),
    ],
)
def test_a_question_that_cannot_be_judged_is_refused(
    model: gemma3n.Gemma3n, row: Question, said: str
) -> None:
    with pytest.raises(InputError, match=said):
        likelihoods(model, [row])
