import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from stages.manifest import manifest_rows
from stages.media import Media
from stages.row import Row


def cut(**changes: Any) -> dict[str, Any]:
    supervision = {"id": "s", "start": 0.0, "duration": 2.0, "speaker": "A"}
    return {
        "id": "cut-1",
        "start": 12.5,
        "duration": 2.0,
        "channel": 0,
        "supervisions": [{**supervision, "text": "good morning", "language": "English"}],
        "recording": {
            "id": "rec",
            "sources": [{"type": "file", "channels": [0], "source": "talks/a.flac"}],
            "sampling_rate": 16000,
            "num_samples": 480000,
            "duration": 30.0,
        },
        "custom": {"snr": 11},
        "type": "MonoCut",
        **changes,
    }


def row_of(folder: Path, said: dict[str, Any]) -> Row:
    path = folder / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(said).encode()))
    (row,) = manifest_rows(path, [Media.audio])
    return row


def test_a_cut_is_a_part_of_a_file(tmp_path: Path) -> None:
    row = row_of(tmp_path, cut())
    assert row["error"] is None
    assert row["item"] == "cut-1"
    assert row["audio_paths"] == [str(tmp_path / "talks/a.flac")]
    assert (row["offset_s"], row["stated_s"]) == (12.5, 2.0)
    assert (row["reference"], row["language"]) == ("good morning", "English")
    assert json.loads(row["extra"] or "")["snr"] == 11


def test_a_file_is_found_from_where_the_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "talks").mkdir()
    (tmp_path / "talks/a.flac").touch()
    (tmp_path / "cuts").mkdir()
    monkeypatch.chdir(tmp_path)
    assert row_of(tmp_path / "cuts", cut())["audio_paths"] == [str(tmp_path / "talks/a.flac")]


def source(**changes: Any) -> dict[str, Any]:
    one = {"type": "file", "channels": [0], "source": "a.flac", **changes}
    return {"recording": {"id": "r", "sources": [one]}}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"type": "MixedCut", "tracks": []}, "is a MixedCut; accepted are MonoCut"),
        ({"recording": None}, "is a MonoCut without all of its recording"),
        ({"channel": 1, **source(channels=[0, 1])}, "with channels [0, 1]; accepted are files of"),
        (source(type="command", source="sox"), "of type 'command' with channels [0]"),
        ({"recording": {**cut()["recording"], "transforms": [{"name": "Speed"}]}}, "changed by [{"),
    ],
)
def test_a_cut_that_is_more_than_a_part_of_a_file_is_refused(
    tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    error = row_of(tmp_path, cut(**changes))["error"]
    assert error
    assert expected in error["message"]
    assert error["message"].startswith("line 1 of '")
