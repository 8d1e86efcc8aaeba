from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the nano extra")
pytest.importorskip("onnxruntime", reason="needs the nano extra")
pytest.importorskip("pocketsphinx", reason="needs the nano extra")

from pipelines.nano.speech import gather, steps
from pipelines.nano.steps import Work, read_lines, stamp, write_lines


def test_every_step_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = [step.name for step in steps(Work(tmp_path))]
    assert len(names) == len(set(names))


def test_phones_come_after_the_clips_they_are_of(tmp_path: Path) -> None:
    names = [step.name for step in steps(Work(tmp_path))]
    phones = [name for name in names if name.startswith("phones-")]
    assert phones
    assert all(names.index(name.removeprefix("phones-")) < names.index(name) for name in phones)


def test_manifests_join_what_is_done_and_add_its_phones(tmp_path: Path) -> None:
    work = Work(tmp_path)
    write_lines(stamp(work, "game"), [{"id": "a"}, {"id": "b"}])
    write_lines(stamp(work, "phones-game"), [{"id": "b", "phones": "SIL:3"}])
    write_lines(stamp(work, "dev-digits"), [{"id": "c"}])
    gather(work)
    train = read_lines(tmp_path / "speech-train.jsonl")
    assert train == [{"id": "a"}, {"id": "b", "phones": "SIL:3"}]
    assert read_lines(tmp_path / "speech-dev.jsonl") == [{"id": "c"}]
