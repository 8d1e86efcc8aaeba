"""What `to=litert` writes, run by LiteRT: `make test-litert`, which has the extra `litert`."""

from pathlib import Path

import pytest

import gemma3n
from gemma3n.matformer import resolve_size
from pipelines.export.litert import write_litert
from pipelines.export.measure import measured
from pipelines.settings import Part
from pipelines.settings.export import ProgramSettings

pytest.importorskip("litert_torch")

SHAPES = ProgramSettings(seconds=2.0, prefill=[8], context=32)


@pytest.mark.parametrize("rounded", [False, True])
def test_every_program_gives_what_the_model_gives(
    tmp_path: Path, nano: gemma3n.Gemma3n, rounded: bool
) -> None:
    write_litert("nano", resolve_size("small", nano.config), tmp_path, SHAPES, rounded=rounded)
    found = measured(tmp_path, repeat=1)
    assert [one.name for one in found] == ["pixels_256", "frames_200", "prefill_8", "decode"]
    for one in found:
        assert one.cosine > 0.99, one
        assert rounded or one.difference < 1e-4, one


def test_activations_have_fixed_ranges_where_rows_show_them(
    tmp_path: Path, nano: gemma3n.Gemma3n, labelled: Path
) -> None:
    shapes = ProgramSettings(parts=[Part.vision, Part.audio], seconds=4.0)
    size, rows = resolve_size("small", nano.config), [str(labelled)]
    as_they_come, fixed = tmp_path / "as-they-come", tmp_path / "fixed"
    for folder, manifests in (as_they_come, []), (fixed, rows):
        folder.mkdir()
        write_litert("nano", size, folder, shapes, rounded=True, calibrate=manifests, rows=4)
    for one in measured(fixed, 1, rows):
        assert one.cosine > 0.97, one
        # Bytes between its operations, and not float32.
        assert one.file.read_bytes() != (as_they_come / one.file.name).read_bytes()
