from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gemma3n.errors import InputError, SettingsError
from gemma3n.generate import Completion, Prompt
from gemma3n.policy import Policy
from stages.decode import Decode, DecodeSettings
from stages.model import Load
from stages.row import Row


def row(item: str, *ids: int, nested: str | None = None) -> Row:
    embeddings = torch.zeros(len(ids), 1)
    return Row(item=item, segment=0, token_ids=list(ids), embeddings=embeddings, nested=nested)


def called(fake_model: Any, what: str) -> list[Any]:
    return [with_ for name, with_ in fake_model.calls if name == what]


def test_a_row_gets_its_answer_and_loses_its_prompt(fake_model: Any, load: Load) -> None:
    (answered,) = Decode(DecodeSettings(), load)([row("a", 2, 3, 4)])
    assert answered == {
        "item": "a",
        "segment": 0,
        "nested": None,
        "text": "3 ids",
        "new_tokens": 3,
        "logprob": -1.0,
        "size": "small",
        "note": "cut at 3 tokens",
    }


def test_an_answer_that_ended_by_itself_has_no_note_and_an_empty_one_no_logprob(
    fake_model: Any, fake_generation: type, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Completion(finish="stop")
    monkeypatch.setattr(fake_generation, "stream", lambda self, prompts: answers(prompts, said))
    (answered,) = Decode(DecodeSettings(), load)([row("a", 2)])
    assert (answered["note"], answered["logprob"], answered["new_tokens"]) == (None, None, 0)


def answers(
    prompts: Iterator[tuple[int, Prompt]], said: Completion
) -> Iterator[tuple[int, Completion]]:
    return ((key, said) for key, _ in prompts)


def test_an_answer_that_a_smaller_size_was_unsure_of_says_so(
    fake_model: Any, fake_generation: type, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = Completion(finish="stop", size="full", doubted=-1.234)
    monkeypatch.setattr(fake_generation, "stream", lambda self, prompts: answers(prompts, said))
    (answered,) = Decode(DecodeSettings(), load, Policy("auto", "mix2"))([row("a", 2)])
    assert answered["size"] == "full"
    assert answered["note"] == "mix2 had log-probability -1.23"


def test_rows_keep_their_order_and_stream_as_they_are_done(fake_model: Any, load: Load) -> None:
    rows = [row("a", 2), row("b", 2, 3), row("c", 2, 3, 4)]
    stage = Decode(DecodeSettings(), load)
    assert [done["item"] for done in stage(rows)] == ["a", "b", "c"]
    assert stage.counts() == {"drafted": 2}
    rows = [row("a", 2), row("b", 2, 99), row("c", 2, 3, 4)]
    streamed = list(Decode(DecodeSettings(), load).stream(iter(rows), batch=2))
    found = [(done["item"], done.get("text"), str(error)) for done, error in streamed]
    assert found[0] == ("c", "3 ids", "None")
    assert found[1:] == [("b", None, "the prompt does not fit"), ("a", "1 ids", "None")]


def test_a_rows_own_size_and_the_policy_reach_the_model(fake_model: Any, load: Load) -> None:
    policy = Policy("auto", "mix2", -0.25)
    settings = DecodeSettings(groups=2)
    Decode(settings, load, policy)([row("a", 2, nested="small"), row("b", 2)])
    assert {nested for _, nested in called(fake_model, "prompt")} == {"small", None}
    ((_, *given),) = called(fake_model, "generation")
    assert given == [policy, 2, 2]


def test_settings_reach_the_sampling(fake_model: Any, load: Load) -> None:
    settings = DecodeSettings(max_new_tokens=7, temperature=0.5, top_k=3, top_p=0.9, stop=["\n"])
    Decode(settings, load)([row("a", 2)])
    ((sampling, *_),) = called(fake_model, "generation")
    assert vars(sampling) == {
        "max_new_tokens": 7,
        "temperature": 0.5,
        "top_k": 3,
        "top_p": 0.9,
        "stop": ["\n"],
        "stop_ids": None,
    }


def test_a_rows_seed_depends_on_the_row_and_the_setting_alone(fake_model: Any, load: Load) -> None:
    stage = Decode(DecodeSettings(), load)
    stage([row("a", 2), row("b", 2)])
    stage([row("b", 2)])
    Decode(DecodeSettings(seed=1), load)([row("b", 2)])
    second, first, again, other = (seed for seed, _ in called(fake_model, "prompt"))
    assert second == again
    assert len({first, second, other}) == 3
    assert first == 3800193317  # in every process, on every machine


def test_a_prompt_that_does_not_fit_is_an_input_error(fake_model: Any, load: Load) -> None:
    with pytest.raises(InputError, match="does not fit"):
        Decode(DecodeSettings(), load)([row("a", 99)])


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"max_new_tokens": 0}, r"decode.max_new_tokens=0; accepted is 1 or more"),
        ({"temperature": -0.1}, r"decode.temperature=-0.1; accepted is 0 or more"),
        ({"groups": 0}, r"decode.groups=0; at least 1"),
        ({"top_k": -1}, r"decode.top_k=-1; accepted is 0 \(for all\) or more"),
        ({"top_p": 0.0}, r"decode.top_p=0.0; accepted is above 0, and 1 at most"),
        ({"top_p": 1.5}, r"decode.top_p=1.5; accepted is above 0, and 1 at most"),
        ({"stop": ["a", ""]}, r"decode.stop=\['a', ''\]; accepted is a list of texts, none of"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DecodeSettings(**setting)
