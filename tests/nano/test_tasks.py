import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.nano import tasks as nano_tasks
from pipelines.nano.sentences import DAYS, DIGITS
from pipelines.nano.split import Split, prompts
from pipelines.nano.tasks import make_tasks, tasks


@pytest.fixture(scope="module")
def train() -> list[dict[str, Any]]:
    return list(tasks(Split.train, 4000))


@pytest.fixture(scope="module")
def dev() -> list[dict[str, Any]]:
    return list(tasks(Split.dev, 300))


def answers(lines: list[dict[str, Any]], pattern: str) -> list[tuple[str, str]]:
    """What a pattern finds in the prompts, with the answers."""
    found = ((re.fullmatch(pattern, line["prompt"]), line["text"]) for line in lines)
    return [(match[1], text) for match, text in found if match]


def test_no_prompt_is_on_both_sides(train: list[dict[str, Any]], dev: list[dict[str, Any]]) -> None:
    assert len({line["prompt"] for line in dev}) == 300
    assert not {line["prompt"] for line in dev} & {line["prompt"] for line in train}


def test_ids_are_unique(train: list[dict[str, Any]]) -> None:
    assert max(Counter(line["id"] for line in train).values()) == 1


def test_no_development_sentence_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nano_tasks, "is_dev_sentence", lambda text: text == "yes")
    answers = {line["text"] for line in tasks(Split.train, 1000)}
    assert "no" in answers
    assert "yes" not in answers


def test_a_word_that_development_spells_is_not_spelt_in_training(
    train: list[dict[str, Any]], dev: list[dict[str, Any]]
) -> None:
    pattern = r"Spell (.*)\."
    spelt = dict(answers(dev, pattern))
    assert spelt
    assert not spelt.keys() & dict(answers(train, pattern)).keys()


def test_answers_are_right(train: list[dict[str, Any]]) -> None:
    for word, text in answers(train, r"Spell (.*)\."):
        assert text.replace(" ", "") == word
    for apart, text in answers(train, r"What is ((?:\d )+\d) in words\?"):
        assert [DIGITS.index(word) for word in text.split()] == [int(one) for one in apart.split()]
    for day, text in answers(train, r"What day comes after (.*)\?"):
        assert (DAYS.index(text) - DAYS.index(day)) % 7 == 1
    for said, text in answers(train, r"Repeat: (.*)"):
        assert text == said


def test_every_kind_of_task_is_there(train: list[dict[str, Any]]) -> None:
    kinds = {line["set"].removeprefix("text, ") for line in train}
    assert kinds == {"spelling", "digits", "numbers", "dates", "words", "facts", "sentences"} | {
        "prompts"
    }


def test_only_training_prompts_of_the_telephone_are_gone_on_with(
    train: list[dict[str, Any]], dev: list[dict[str, Any]]
) -> None:
    whole = {f"{start} {text}" for start, text in answers(train, r"Go on: (.*)")}
    assert whole
    assert whole <= {text for side, text in prompts().values() if side is Split.train}
    assert not answers(dev, r"Go on: (.*)")


def test_answers_are_worded_as_transcripts_are(train: list[dict[str, Any]]) -> None:
    assert all(re.fullmatch(r"[a-z0-9' ]+", line["text"]) for line in train)


def test_the_step_writes_both_manifests(tmp_path: Path) -> None:
    make_tasks(tmp_path, quick=True)
    counts = []
    for side in ("train", "dev"):
        lines = (tmp_path / f"text-{side}.jsonl").read_text(encoding="utf-8").splitlines()
        counts.append(len(lines))
        assert json.loads(lines[0]).keys() == {"id", "prompt", "text", "set"}
    assert counts[0] > 2000
    assert counts[1] == 300
