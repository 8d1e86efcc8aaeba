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


def test_manifests_join_what_is_done_and_add_phones_and_weights(tmp_path: Path) -> None:
    work = Work(tmp_path)
    prompt = {"id": "a", "set": "prompts, seen speaker", "source": "Debian prompts"}
    game = {"id": "b", "set": "game, a large cast", "source": "Debian game"}
    neural = {"id": "c", "set": "synthetic voices", "source": "kokoro"}
    robot = {"id": "d", "set": "synthetic voices", "source": "espeak"}
    unheard = {"id": "e", "set": "digit strings, seen speaker", "source": "Debian prompts"}
    write_lines(stamp(work, "allison-prompts"), [prompt])
    write_lines(stamp(work, "game"), [game])
    write_lines(stamp(work, "phones-game"), [{"id": "b", "phones": "SIL:3"}])
    write_lines(stamp(work, "espeak"), [robot])
    write_lines(stamp(work, "kokoro-00"), [neural])
    write_lines(stamp(work, "dev-digits"), [unheard])
    gather(work)
    assert read_lines(tmp_path / "speech-train.jsonl") == [
        prompt | {"weight": 2.0},
        game | {"phones": "SIL:3", "weight": 0.5},
        robot | {"weight": 1.0},
        neural | {"weight": 2.0},
    ]
    assert read_lines(tmp_path / "speech-dev.jsonl") == [unheard | {"weight": 1.0}]
