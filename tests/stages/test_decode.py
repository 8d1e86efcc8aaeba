from typing import Any

import pytest
import torch

from gemma3n.errors import InputError, SettingsError
from stages.decode import Decode, DecodeSettings
from stages.model import Load
from stages.row import Row


def row(item: str, *ids: int) -> Row:
    return Row(item=item, segment=0, token_ids=list(ids), embeddings=torch.zeros(len(ids), 1))


def seeds(fake_model: Any) -> list[int]:
    return [seed for _, (seeds, _) in fake_model.calls for seed in seeds]


def test_a_row_gets_its_answer_and_loses_its_prompt(fake_model: Any, load: Load) -> None:
    (answered,) = Decode(DecodeSettings(), load)([row("a", 2, 3, 4)])
    assert answered == {
        "item": "a",
        "segment": 0,
        "text": "3 ids",
        "new_tokens": 3,
        "logprob": -1.0,
        "size": "small",
        "note": "cut at 3 tokens",
    }


def test_an_answer_that_ended_by_itself_has_no_note_and_an_empty_one_no_logprob(
    fake_model: Any, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gemma3n.generate import Completion

    monkeypatch.setattr(fake_model, "complete", lambda *_: [Completion(finish="stop")])
    (answered,) = Decode(DecodeSettings(), load)([row("a", 2)])
    assert (answered["note"], answered["logprob"], answered["new_tokens"]) == (None, None, 0)


def test_settings_reach_the_sampling(fake_model: Any, load: Load) -> None:
    settings = DecodeSettings(max_new_tokens=7, temperature=0.5, top_k=3, top_p=0.9, stop=["\n"])
    Decode(settings, load)([row("a", 2)])
    ((_, (_, sampling)),) = fake_model.calls
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
    first, second, again, other = seeds(fake_model)
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
        ({"top_k": -1}, r"decode.top_k=-1; accepted is 0 \(for all\) or more"),
        ({"top_p": 0.0}, r"decode.top_p=0.0; accepted is above 0, and 1 at most"),
        ({"top_p": 1.5}, r"decode.top_p=1.5; accepted is above 0, and 1 at most"),
        ({"stop": ["a", ""]}, r"decode.stop=\['a', ''\]; accepted is a list of texts, none of"),
    ],
)
def test_settings_out_of_range_are_refused(setting: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        DecodeSettings(**setting)
