from collections.abc import Iterator
from typing import Any

import pytest
import torch

from gemma3n.answers import Completion
from gemma3n.errors import InputError
from gemma3n.policy import Policy
from gemma3n.slots import Prompt
from stages.decode import DecodeSettings
from stages.first_answer import FirstAnswer
from stages.model import Load
from stages.row import Row


def row(item: str, *ids: int, nested: str | None = None) -> Row:
    embeddings = torch.ones(len(ids), 1)
    return Row(item=item, segment=0, token_ids=list(ids), embeddings=embeddings, nested=nested)


def first(load: Load, threshold: float) -> FirstAnswer:
    return FirstAnswer(DecodeSettings(), load, Policy(threshold=threshold))


def test_a_sure_answer_stands_and_its_prompt_goes(fake_model: Any, load: Load) -> None:
    stage = first(load, -1.0)  # the answers have just that
    (done,) = stage([row("a", 2, 3)])
    assert (done["text"], done["size"]) == ("2 ids", "small")
    assert not {"token_ids", "embeddings", "doubted"} & done.keys()
    assert "passed_on" not in stage.counts()


def test_a_doubtful_one_goes_on_as_it_came_and_with_the_doubt(fake_model: Any, load: Load) -> None:
    stage, came = first(load, -0.9), row("a", 2, 3)
    (done,) = stage([came.copy()])
    assert done == came | Row(doubted=-1.0)
    assert stage.counts()["passed_on"] == 1


def test_a_row_with_a_size_of_its_own_is_not_for_the_small_one(fake_model: Any, load: Load) -> None:
    stage = first(load, -1.0)
    rows = [row("a", 2, nested="full"), row("b", 2), row("c", 2, nested="mix2")]
    done = stage([one.copy() for one in rows])
    assert [one.get("text") for one in done] == [None, "1 ids", None]
    assert (done[0], done[2]) == (rows[0], rows[2])
    assert len([1 for what, _ in fake_model.calls if what == "prompt"]) == 1
    assert stage.counts()["passed_on"] == 2
    assert stage([row("d", 2, nested="full")]) == [row("d", 2, nested="full")]


def test_an_answer_of_no_tokens_is_not_doubted(
    fake_model: Any, fake_generation: type, load: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(_: Any, prompts: Iterator[tuple[int, Prompt]]) -> Iterator[tuple[int, Completion]]:
        return ((key, Completion(finish="stop")) for key, _ in prompts)

    monkeypatch.setattr(fake_generation, "stream", silent)
    (done,) = first(load, -1.0)([row("a", 2)])
    assert (done["text"], done["logprob"]) == ("", None)


def test_a_prompt_that_does_not_fit_is_refused_here(fake_model: Any, load: Load) -> None:
    with pytest.raises(InputError, match="does not fit"):
        first(load, -1.0)([row("a", 99)])
