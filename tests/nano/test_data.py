from pathlib import Path

import pytest

pytest.importorskip("av", reason="needs the nano extra")
pytest.importorskip("onnxruntime", reason="needs the nano extra")
pytest.importorskip("pocketsphinx", reason="needs the nano extra")

from pipelines.nano.clips import LONGEST
from pipelines.nano.data import main
from pipelines.nano.split import Split, game_clip, is_dev_sentence, prompts, voice
from pipelines.nano.steps import read_lines


@pytest.mark.downloads
def test_nothing_that_is_measured_with_is_trained_on(tmp_path: Path) -> None:
    main(["--out", str(tmp_path), "--quick"])
    train, dev = (read_lines(tmp_path / f"speech-{side}.jsonl") for side in ("train", "dev"))
    assert {line["id"] for line in train}.isdisjoint(line["id"] for line in dev)
    assert all((tmp_path / line["audio"]).is_file() for line in train + dev)

    heard = {line["text"] for line in train if " " in line["text"]}
    assert heard.isdisjoint(line["text"] for line in dev)
    assert not any(is_dev_sentence(text) for text in heard)
    assert {voice(line["voice"]) for line in train} == {Split.train}
    held_out = [line for line in dev if "synthetic" in line["set"]]
    assert {voice(line["voice"]) for line in held_out} == {Split.dev}

    recorded = [line["id"].removeprefix("allison/") for line in train if "allison/" in line["id"]]
    assert {prompts()[key][0] for key in recorded} == {Split.train}
    clips = [line["id"].removeprefix("game/") for line in train if "game/" in line["id"]]
    assert {game_clip(name) for name in clips} == {Split.train}

    assert max(line["seconds"] for line in train) <= LONGEST
    aligned = [line for line in train if "phones" in line]
    assert len(aligned) > 0.9 * len(train)
    (tmp_path / "LICENCES.json").read_text(encoding="utf-8").index("CC-BY-SA-3.0")
