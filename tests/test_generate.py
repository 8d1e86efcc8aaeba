from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import gemma3n
from gemma3n import Gemma3n, InputError, NestedSize, SettingsError
from gemma3n.choose import sample
from gemma3n.generate import Completion, Generation, Prompt, complete
from gemma3n.lanes import Lane
from gemma3n.policy import AUTO, Policy
from gemma3n.sampling import Sampling
from gemma3n.slots import Slots, runs_of_like

Arrays = Callable[[str], dict[str, Tensor]]
GREEDY = Sampling(max_new_tokens=12, stop_ids=[])


def greedy(model: Gemma3n, prompts: list[list[int]], chunk: int = 512) -> list[Completion]:
    with torch.inference_mode():
        generation = Generation(model, GREEDY, slots=len(prompts), chunk=chunk)
        return complete(generation, [Prompt(ids) for ids in prompts])


def test_greedy_decoding_equals_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference = golden("text_generate")
    for name in ("", "long_"):
        expected = reference[f"{name}generated_ids"].tolist()
        prompt = reference[f"{name}prompt_ids"].tolist()
        assert model.generate_ids(prompt, len(expected[0]), []) == expected


def test_logits_of_every_decode_step_equal_the_reference(model: Gemma3n, golden: Arrays) -> None:
    reference = golden("text_generate")
    sequence = torch.cat([reference["prompt_ids"], reference["generated_ids"]], 1)
    logits = model.logits(sequence)[:, 11:-1]
    torch.testing.assert_close(logits, reference["step_logits"], atol=5e-3, rtol=0)
    row = Prompt(reference["prompt_ids"][0].tolist())
    answer = model.complete([row], Sampling(53, stop_ids=[]))[0]
    chosen = reference["step_logits"][0].log_softmax(-1).max(-1).values
    torch.testing.assert_close(torch.tensor(answer.logprobs), chosen, atol=5e-3, rtol=0)


@pytest.mark.parametrize("name", ["e2b", "mix", "irregular"])
def test_nested_sizes_generate_what_the_reference_does(
    model: Gemma3n, golden: Arrays, slices: dict[str, NestedSize], name: str
) -> None:
    reference = golden("slices")
    prompt = reference[f"{name}.prompt_ids"].tolist()
    expected = reference[f"{name}.generated_ids"].tolist()
    assert model.generate_ids(prompt, 32, [], nested=slices[name]) == expected


def test_an_image_a_clip_and_text_in_one_sequence_decode_as_the_reference(
    model: Gemma3n, golden: Arrays
) -> None:
    reference, clips = golden("multimodal"), golden("audio_features")
    ids = reference["input_ids"][0].tolist()
    audio = model.encode_audio(list(clips["single_features"]))
    images = list(model.encode_images(reference["image_u8"][None]))
    answer = model.complete([Prompt(ids, model.fuse(ids, audio, images))], GREEDY)[0]
    assert [answer.token_ids] == reference["generated_ids"].tolist()


PROMPTS = st.lists(st.lists(st.integers(4, 509), min_size=1, max_size=40), min_size=1, max_size=4)


@settings(max_examples=12)
@given(prompts=PROMPTS, chunk=st.integers(1, 50))
def test_neither_batch_mates_nor_chunks_change_a_token(
    model: Gemma3n, prompts: list[list[int]], chunk: int
) -> None:
    together = greedy(model, prompts, chunk)
    alone = [greedy(model, [prompt])[0] for prompt in prompts]
    for one, other in zip(together, alone, strict=True):
        assert one.token_ids == other.token_ids
        torch.testing.assert_close(
            torch.tensor(one.logprobs), torch.tensor(other.logprobs), atol=1e-4, rtol=0
        )


def test_the_cache_changes_no_token(model: Gemma3n) -> None:
    ids = [2, 9, 8, 300, 41]
    for token in greedy(model, [ids])[0].token_ids:
        assert model.logits(torch.tensor([ids]))[0, -1].argmax() == token
        ids = [*ids, token]


def test_sampling_is_seeded_by_row_and_independent_of_the_batch(model: Gemma3n) -> None:
    sampling = Sampling(8, temperature=3.0, stop_ids=[])
    rows = [Prompt([2, 9, 8], seed=1), Prompt([2, 9], seed=2), Prompt([2, 9, 8], seed=3)]
    together = [answer.token_ids for answer in model.complete(rows, sampling)]
    alone = [model.complete([row], sampling)[0].token_ids for row in rows]
    assert together == alone
    assert together[0] != together[2]


def test_sampling_follows_the_distribution() -> None:
    logits = torch.tensor([[2.0, 0.0, 1.0]])
    draws = torch.arange(0.5, 1000) / 1000
    chosen = sample(logits.expand(1000, 3), Sampling(temperature=0.5), draws)
    found = chosen.bincount(minlength=3) / 1000
    torch.testing.assert_close(found, (logits[0] / 0.5).softmax(-1), atol=2e-3, rtol=0)


@given(draw=st.floats(0, 1), top_k=st.integers(1, 3))
def test_top_k_keeps_the_k_most_likely(draw: float, top_k: int) -> None:
    logits = torch.tensor([[0.3, 0.1, 0.4, 0.2]])
    chosen = sample(logits, Sampling(temperature=1.0, top_k=top_k), torch.tensor([draw]))
    assert chosen.item() in [2, 0, 3][:top_k]


@given(draw=st.floats(0, 1))
def test_top_p_keeps_the_fewest_that_reach_it(draw: float) -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    chosen = sample(logits, Sampling(temperature=1.0, top_p=0.7), torch.tensor([draw]))
    assert chosen.item() in (0, 1)


def test_a_row_ends_at_a_stop_id_and_others_go_on(model: Gemma3n) -> None:
    prompts = [[2, 9, 8], [2, 9]]
    free = greedy(model, prompts)
    stop = free[0].token_ids[3]
    rows = [Prompt(ids) for ids in prompts]
    stopped = model.complete(rows, replace(GREEDY, stop_ids=[stop]))
    first = free[0].token_ids.index(stop)
    assert stopped[0].token_ids == free[0].token_ids[:first]
    assert (stopped[0].finish, free[0].finish) == ("stop", "length")
    if stop not in free[1].token_ids:
        assert stopped[1].token_ids == free[1].token_ids


def test_a_row_ends_at_a_stop_text_which_is_not_part_of_it(model: Gemma3n) -> None:
    row = Prompt([2, 105, 77])  # to which the random model says something readable
    whole = model.complete([row], GREEDY)[0].text
    assert "ain" in whole
    answer = model.complete([row], replace(GREEDY, stop=["ain"]))[0]
    assert answer.text == whole[: whole.find("ain")]
    assert answer.finish == "stop"


def test_tokens_are_reported_as_they_appear(model: Gemma3n) -> None:
    seen: list[tuple[int, int]] = []
    answers = model.complete(
        [Prompt([2, 9]), Prompt([2])], GREEDY, on_token=lambda row, token: seen.append((row, token))
    )
    for row, answer in enumerate(answers):
        assert [token for of, token in seen if of == row] == answer.token_ids


def test_an_answer_ends_where_the_context_does(model: Gemma3n) -> None:
    context = model.config.text.max_position_embeddings
    answer = model.complete([Prompt([5] * (context - 2))], GREEDY)[0]
    assert len(answer.token_ids) == 2
    assert answer.finish == "length"


def test_a_prompt_that_does_not_fit_says_by_how_much(model: Gemma3n) -> None:
    context = model.config.text.max_position_embeddings
    with pytest.raises(InputError, match=f"{context + 4} tokens, 5 too many.*holds {context}"):
        model.complete([Prompt([5] * (context + 4))], GREEDY)
    model.complete([Prompt([5] * (context - 1))], replace(GREEDY, max_new_tokens=1))
    with pytest.raises(InputError, match="prompt is empty"):
        model.complete([Prompt([])], GREEDY)


def test_nothing_to_complete_is_nothing(model: Gemma3n) -> None:
    assert model.complete([], GREEDY) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"max_new_tokens": -1}, "max_new_tokens=-1; accepted is 1 or more"),
        ({"temperature": -1.0}, "temperature=-1.0; accepted is 0 or more"),
        ({"temperature": float("nan")}, "temperature=nan"),
        ({"top_k": -2}, "top_k=-2"),
        ({"top_p": 0.0}, "top_p=0.0; accepted is above 0"),
        ({"stop": "abc"}, "stop='abc'; accepted is a list of texts"),
        ({"stop": [""]}, "none of them empty"),
    ],
)
def test_sampling_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Sampling(**wrong)


@pytest.mark.parametrize("token", [-1, 544])
def test_an_id_that_the_model_does_not_have_is_refused(model: Gemma3n, token: int) -> None:
    with pytest.raises(InputError, match=f"token id {token}; accepted are 0 to 543"):
        model.complete([Prompt([2, token, 3])], GREEDY)


def test_embeddings_of_another_shape_are_refused(model: Gemma3n) -> None:
    with pytest.raises(InputError, match=r"shape \[2, 1\]; accepted is \[2, 64\]"):
        model.complete([Prompt([2, 9], torch.zeros(2, 1))], GREEDY)


@settings(max_examples=5)
@given(
    lengths=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 508)), min_size=1, max_size=9),
    slots=st.integers(1, 4),
    groups=st.integers(1, 3),
)
def test_rows_that_take_over_a_slot_say_what_they_say_alone(
    model: Gemma3n, lengths: list[tuple[int, int]], slots: int, groups: int
) -> None:
    prompts = [Prompt([4 + (first + n) % 500 for n in range(long)]) for long, first in lengths]
    alone = [model.complete([prompt], GREEDY)[0].token_ids for prompt in prompts]
    # Rows end at different times, as they do in a job: at some token of the first one's answer.
    ends = replace(GREEDY, stop_ids=[alone[0][len(prompts) % 12]])
    expected = [model.complete([prompt], ends)[0].token_ids for prompt in prompts]
    together = complete(Generation(model, ends, slots=slots, groups=groups), prompts)
    assert [answer.token_ids for answer in together] == expected


def test_rows_of_a_group_are_asked_for_before_another_group_computes(
    model: Gemma3n, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, Slots]] = []
    step, ahead = Slots.step, Lane.ahead

    def stepping(slots: Slots, token_ids: Sequence[int]) -> Tensor:
        seen.append(("step", slots))
        return step(slots, token_ids)

    def asking(lane: Lane) -> None:
        seen.append(("ask", lane.slots))
        ahead(lane)

    monkeypatch.setattr(Slots, "step", stepping)
    monkeypatch.setattr(Lane, "ahead", asking)
    prompts = [Prompt([2, 9, 8, key + 4]) for key in range(4)]
    complete(Generation(model, GREEDY, slots=4, groups=2), prompts)
    steps = [number for number, (what, _) in enumerate(seen) if what == "step"]
    assert len(steps) == 2 * (GREEDY.max_new_tokens - 1)
    for number in steps[1:]:
        group = seen[number][1]
        asked = max(n for n in range(number) if seen[n] == ("ask", group))
        between = seen[asked + 1 : number]
        assert [slots is group for what, slots in between if what == "step"] == [False]


@pytest.mark.parametrize("wrong", [{"slots": 0}, {"groups": 0}])
def test_no_slots_and_no_groups_are_refused(model: Gemma3n, wrong: dict[str, int]) -> None:
    with pytest.raises(SettingsError, match=f"{next(iter(wrong))}=0; at least 1"):
        Generation(model, GREEDY, **wrong)  # type: ignore[arg-type]


def test_prompts_are_taken_as_slots_become_free(model: Gemma3n) -> None:
    taken: list[int] = []

    def coming() -> Iterator[tuple[int, Prompt]]:
        for key in range(6):
            taken.append(key)
            yield key, Prompt([2, 9, 8, key + 4])

    generation = Generation(model, GREEDY, slots=2)
    for count, (key, answer) in enumerate(generation.stream(coming()), start=1):
        assert answer.token_ids == greedy(model, [[2, 9, 8, key + 4]])[0].token_ids
        assert len(taken) <= count + 2
    assert taken == list(range(6))


def test_rows_of_one_batch_may_ask_for_different_sizes(
    model: Gemma3n, slices: dict[str, NestedSize]
) -> None:
    sizes = [None, slices["e2b"], slices["mix"], slices["e2b"], None]
    rows = [Prompt([2, 9, 8 + n], nested=size) for n, size in enumerate(sizes)]
    together = model.complete(rows, GREEDY, slots=3)
    assert [answer.size for answer in together] == ["full", "e2b", "mix", "e2b", "full"]
    for n, (size, answer) in enumerate(zip(sizes, together, strict=True)):
        assert [answer.token_ids] == model.generate_ids([[2, 9, 8 + n]], 12, [], nested=size)


def test_a_size_that_is_not_loaded_is_refused(
    checkpoint_folder: Path, slices: dict[str, NestedSize]
) -> None:
    small = gemma3n.load(checkpoint_folder, nested=slices["e2b"], parts=["text"])
    with pytest.raises(InputError, match="nested='full' is not within the loaded size 'e2b'"):
        small.complete([Prompt([2, 9], nested="full")], GREEDY)


@settings(max_examples=4)
@given(threshold=st.floats(-3, 0))
def test_a_doubtful_small_answer_is_given_again_by_the_large_size(
    model: Gemma3n, slices: dict[str, NestedSize], threshold: float
) -> None:
    rows = [Prompt([2, 9, 8 + n]) for n in range(5)]
    small = model.complete(rows, GREEDY, nested=slices["e2b"])
    full = model.complete(rows, GREEDY)
    seen: list[tuple[int, int]] = []
    answers = model.complete(
        rows,
        GREEDY,
        policy=Policy(AUTO, slices["e2b"], threshold),
        on_token=lambda row, token: seen.append((row, token)),
        slots=3,
    )
    for row, (first, second, answer) in enumerate(zip(small, full, answers, strict=True)):
        assert first.logprob is not None
        doubtful = first.logprob < threshold
        assert answer.size == ("full" if doubtful else "e2b")
        assert answer.token_ids == (second if doubtful else first).token_ids
        assert answer.doubted == (pytest.approx(first.logprob, abs=1e-4) if doubtful else None)
        assert [token for of, token in seen if of == row] == answer.token_ids


def test_a_row_with_a_size_of_its_own_is_never_asked_again(
    model: Gemma3n, slices: dict[str, NestedSize]
) -> None:
    row = Prompt([2, 9, 8], nested=slices["e2b"])
    answer = model.complete([row], GREEDY, policy=Policy(AUTO, slices["e2b"], threshold=0))[0]
    assert (answer.size, answer.doubted) == ("e2b", None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kind": "best"}, "kind='best'; accepted is single, auto, speculative"),
        ({"threshold": 0.5}, "threshold=0.5; accepted is 0 or less"),
        ({"threshold": float("nan")}, "threshold=nan"),
        ({"draft_tokens": 0}, "draft_tokens=0; accepted is 1 to 64"),
    ],
)
def test_a_policy_out_of_range_is_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Policy(**wrong)


def test_prompts_of_like_length_share_a_pass() -> None:
    def lengths(*given: int) -> list[list[int]]:
        runs = runs_of_like([Prompt([5] * n) for n in given])
        return [[len(prompt.token_ids) for prompt in run] for run in runs]

    assert lengths(10, 90, 30) == [[10, 90, 30]]  # short ones: padding costs less than a pass
    assert lengths(1000, 900, 30, 1000) == [[1000, 900], [30], [1000]]
