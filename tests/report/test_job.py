"""The whole command, on what real runs of nano leave."""

import re
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.exit_code import DONE, ROWS_FAILED, WRONG_USE

CARDS = Path(__file__).parents[1] / "samples/audio/cmu-cards"


def test_a_run_is_told_of_from_end_to_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, run = tmp_path / "source", tmp_path / "run"
    source.mkdir()
    for clip in CARDS.iterdir():
        (source / clip.name).write_bytes(clip.read_bytes())
    (source / "broken.wav").write_text("no sound")
    words = ["transcribe", str(source), "-o", str(run), "precision=float32", "executor.readers=1"]
    assert main(words) == ROWS_FAILED
    capsys.readouterr()
    assert main(["report", str(run)]) == DONE
    assert capsys.readouterr().out == f"{run / 'report.html'}\n"
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Finished, 1 row failed" in page
    assert "cannot be read as audio" in page
    assert len(re.findall('<audio controls preload="none" src="data:audio/mpeg;base64,', page)) == 2
    assert "The source" not in page
    for stage in ("read", "mel", "encode", "fuse", "decode", "write"):
        assert re.search(f'<th scope="row">{stage}</th>.*?<td class="num">3</td>', page, re.DOTALL)
    for part in ("Memory, planned", "Memory, peak"):  # the run may be too short for a curve
        assert part in page
    # Files that are gone since: the page says so on the row.
    for clip in source.glob("0*.wav"):
        clip.unlink()
    other = tmp_path / "other.html"
    assert main(["report", str(run), "-o", str(other), "title=Again & again"]) == DONE
    page = other.read_text(encoding="utf-8")
    assert "<title>Again &amp; again</title>" in page
    assert "<audio" not in page
    assert page.count("The source has it no more.") == 2


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["report"], "source.path is not set, and report needs it: run folders, evaluations"),
        (["report", "nowhere"], "'nowhere' does not exist; a report is about folders."),
        (["report", ".", "worst=-1"], "worst=-1; 0 or more. Raise it."),
        (["report", ".", "embed.max_mb=101"], "embed.max_mb=101.0; accepted are 0 to 100."),
        (["report", ".", "wurst=1"], "report has no setting wurst. Did you mean worst?"),
    ],
)
def test_what_cannot_be_told_is_refused(
    words: list[str],
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == WRONG_USE
    assert why in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_file_must_be_one_of_html(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run/results").mkdir(parents=True)
    (tmp_path / "run/config.yaml").write_text("# gemma3n transcribe: so\njob: transcribe\n")
    words = ["report", str(tmp_path / "run"), "-o", str(tmp_path / "results.txt")]
    assert main(words) == WRONG_USE
    assert "its name does not end in .html" in capsys.readouterr().err
    assert main([*words[:-1], str(tmp_path / "new/page.html")]) == DONE
    assert "0 items are committed" in (tmp_path / "new/page.html").read_text(encoding="utf-8")
