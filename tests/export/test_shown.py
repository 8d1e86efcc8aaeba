"""What programs of the towers are shown of labelled rows."""

from pathlib import Path

import pytest
import torch

import gemma3n
from gemma3n.errors import SettingsError
from pipelines.export.programs import Program, audio_program, text_program, vision_program
from pipelines.export.shown import shown


def programs(nano: gemma3n.Gemma3n, frames: int) -> list[Program]:
    return [vision_program(nano, 256), audio_program(nano, frames), text_program(nano, 1, 8)]


def test_towers_are_shown_pictures_and_clips_as_jobs_make_them(
    nano: gemma3n.Gemma3n, labelled: Path
) -> None:
    few = programs(nano, 400)
    found = shown(few, nano.checkpoint.folder, [str(labelled)], 2)
    assert list(found) == ["pixels_256", "frames_400"]  # what a decoder is given follows from more
    for program in few[:2]:
        rows = found[program.name]
        assert len(rows) == 2
        for row in rows:
            assert [one.shape for one in row] == [one.shape for one in program.given]
            assert [one.dtype for one in row] == [one.dtype for one in program.given]
    (pixels,) = found["pixels_256"][0]
    assert 0 <= pixels.min() < 0.5 < pixels.max() <= 1
    (first, real), (second, _) = found["frames_400"]
    assert real.all()
    assert not torch.equal(first, second)
    again = next(n for n in range(1, 400) if torch.equal(first[0, n], first[0, 0]))
    assert torch.equal(first[0, again:], first[0, : 400 - again])


def test_a_tower_that_is_shown_nothing_is_named(nano: gemma3n.Gemma3n, labelled: Path) -> None:
    pictures = [line for line in labelled.read_text().splitlines() if '"image"' in line]
    alone = labelled.with_name("pictures.jsonl")
    alone.write_text("\n".join(pictures))
    with pytest.raises(SettingsError, match=r"pictures.jsonl: no row shows anything to frames_20"):
        shown(programs(nano, 20), nano.checkpoint.folder, [str(alone)], 2)


def test_a_file_that_cannot_be_read_is_named(nano: gemma3n.Gemma3n, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no picture")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"image": "broken.png", "text": "a cat"}\n')
    with pytest.raises(SettingsError, match=r"'.*broken.png' cannot be used: "):
        shown(programs(nano, 20)[:1], nano.checkpoint.folder, [str(rows)], 1)
