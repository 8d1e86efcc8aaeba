import json
from pathlib import Path

import pytest

from gemma3n.errors import SettingsError
from pipelines.bench.command import bench_folder
from pipelines.cli import main


@pytest.mark.parametrize(("tower", "of_sound"), [("audio", True), ("vision", False)])
def test_a_job_is_itemised_by_stage(
    tower: str, of_sound: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["bench", "what=pipeline", f"tower={tower}", "files=3", "rows=2", "repeat=1"]
    assert main([*words, "new_tokens=2", "precision=float32", "json=true"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)["runs"]
    assert figures["items/s"] > 0
    assert 0 < figures["new tokens/s"] <= 2 * figures["items/s"]
    assert ("times real time" in figures) is of_sound
    shares = {name for name in figures if name.endswith(", % of the time")}
    before = "mel" if of_sound else "resize"
    assert shares >= {f"{stage}, % of the time" for stage in ("read", before, "encode", "decode")}
    assert figures["peak"] > 1e8


def test_a_machine_without_proc_is_told_where_to_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda _: False)
    with pytest.raises(SettingsError, match=r"only Linux has\. Run it there"), bench_folder():
        pass
