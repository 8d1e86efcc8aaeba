import json
import runpy
from pathlib import Path

import pytest

show = runpy.run_path(str(Path(__file__).with_name("show_demo.py")))


def test_sizes_are_shown_side_by_side_and_steer_no_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    rows = [
        {"item": "a.wav", "size": "full", "text": "\x1b[2J[red]\tü", "failed": False},
        {"item": "a.wav", "size": "small", "text": "Zoo", "failed": False},
        {"item": "b.wav", "size": "full", "text": "", "failed": True},
    ]
    lines = (json.dumps({"reference": "Zoë", **row}) for row in rows)
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- what make demo shows -->\nold\n<!-- end -->\nafter\n")
    show["main"]([tmp_path], readme)
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "a.wav" in line)
    assert line.index("Zoë") < line.index(r"\x1b[2J[red]\tü") < line.index("Zoo")
    assert "(failed)" in shown
    before, _, *table, _, after = readme.read_text().splitlines()
    assert (before, after, len(table)) == ("before", "after", 4)
    assert table[-1] == "| b.wav | Zoë | (failed) |  |"
