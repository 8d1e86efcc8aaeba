import json
import runpy
from pathlib import Path

import pytest

show = runpy.run_path(str(Path(__file__).with_name("show_demo.py")))


def test_rows_are_shown_with_their_certainty_and_steer_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    good = {"item": "a.wav", "reference": "Zoë", "text": "\x1b[2J[red]\tü", "error": None}
    bad = {"item": "b.wav", "reference": None, "text": None, "error": {"message": "too long"}}
    lines = [{**good, "segments": [{"logprob": -1.23456}]}, {**bad, "segments": []}]
    (tmp_path / "results.jsonl").write_text("\n".join(map(json.dumps, lines)))
    show["main"]([tmp_path])
    shown = capsys.readouterr().out
    for text in (r"\x1b[2J[red]\tü", "Zoë", "-1.2346", "too long"):
        assert text in shown
