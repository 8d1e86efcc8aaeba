"""Steps of fixed shapes: the same as the others, and of a kind that a graph can hold."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter

import gemma3n
from gemma3n import static_step
from gemma3n.slots import Prompt, Slots

PROMPTS = [[5, 6, 7], [9] * 40, [8, 3]]  # the sliding window is shorter than one of them


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def short_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_step, "_REACH", 8)


def slots_of(model: gemma3n.Gemma3n, static: bool, count: int = 4) -> Slots:
    slots = Slots(model, count, model.running(None))
    slots.static = static_step.StaticStep(model, slots.cache, slots.size) if static else None
    return slots


@pytest.mark.usefixtures("short_reach")
def test_rows_that_come_and_go_get_what_they_get_otherwise(model: gemma3n.Gemma3n) -> None:
    given: dict[object, Tensor] = {}
    found: dict[object, Tensor] = {}
    for static, results in ((False, given), (True, found)):
        slots = slots_of(model, static)
        results["prompts"] = slots.admit([Prompt(ids) for ids in PROMPTS])
        for step in range(12):  # past two reaches
            results[step] = slots.step([step + row for row in range(3)])
        slots.leave(0)
        results["after one left"] = slots.step([4, 4])
        slots.admit([Prompt([11, 12])])
        for step in range(3):
            results["after one came", step] = slots.step([step, 6, 7])
    assert set(given) == set(found)
    for when, logits in given.items():
        torch.testing.assert_close(found[when], logits, atol=1e-4, rtol=1e-4, msg=str(when))


def test_full_slots_and_a_single_row_are_no_special_cases(model: gemma3n.Gemma3n) -> None:
    for count in (1, 3):
        prompts = [Prompt(ids) for ids in PROMPTS[:count]]
        steps = []
        for static in (False, True):
            slots = slots_of(model, static, count)
            slots.admit(prompts)
            steps.append(slots.step([7] * count))
        torch.testing.assert_close(*steps, atol=1e-4, rtol=1e-4)


@pytest.mark.usefixtures("short_reach")
def test_one_graph_holds_all_steps_of_a_reach(
    model: gemma3n.Gemma3n, monkeypatch: pytest.MonkeyPatch
) -> None:
    slots = slots_of(model, static=True)
    assert slots.static is not None
    counter = CompileCounter()
    whole = torch.compile(slots.static.run, backend=counter, fullgraph=True, dynamic=False)
    monkeypatch.setattr(slots.static, "run", whole)
    plain = slots_of(model, static=False)
    for one in (slots, plain):
        one.admit([Prompt([5, 6]), Prompt([7, 8, 9])])
    for step in range(5):  # up to eight tokens
        torch.testing.assert_close(
            slots.step([step, step]), plain.step([step, step]), atol=1e-4, rtol=1e-4
        )
    assert counter.frame_count == 1
    slots.step([1, 1])
    assert counter.frame_count == 2


def test_jobs_decode_in_such_steps_where_a_model_asks_for_them(
    checkpoint_folder: Path,
) -> None:
    model = gemma3n.load(checkpoint_folder, precision="float32", device="cpu", parts=["text"])
    said = [model.generate_ids(PROMPTS, max_new_tokens=20, stop_ids=[])]
    model.static = True
    said.append(model.generate_ids(PROMPTS, max_new_tokens=20, stop_ids=[]))
    assert said[0] == said[1]
