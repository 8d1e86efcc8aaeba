"""What `to=litert` writes, run by LiteRT: `make test-litert`, which has the extra `litert`."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

import gemma3n
from gemma3n.matformer import resolve_size
from pipelines.export.litert import write_litert
from pipelines.export.model_programs import model_programs
from pipelines.settings.export import ProgramSettings

pytest.importorskip("litert_torch")
interpreter: Any = pytest.importorskip("ai_edge_litert.interpreter")

SHAPES = ProgramSettings(seconds=2.0, prefill=[8], context=32)


@pytest.mark.parametrize("rounded", [False, True])
def test_every_program_gives_what_the_model_gives(
    tmp_path: Path, nano: gemma3n.Gemma3n, rounded: bool
) -> None:
    size = resolve_size("small", nano.config)
    write_litert("nano", size, tmp_path, SHAPES, rounded)
    described = json.loads((tmp_path / "programs.json").read_text())["programs"]
    _, programs = model_programs("nano", size, SHAPES)
    for program, one in zip(programs, described, strict=True):
        with torch.inference_mode():
            given = program.module(*program.given)
        expected = given if isinstance(given, tuple) else (given,)
        path = str(tmp_path / one["file"])
        run = interpreter.Interpreter(path).get_signature_runner(one["name"])
        inputs = {f"args_{n}": tensor.numpy() for n, tensor in enumerate(program.given)}
        found = run(**inputs)
        assert len(found) == len(one["outputs"]) == len(expected)
        for n, exact in enumerate(expected):
            ours = torch.from_numpy(found[f"output_{n}"]).float()
            if rounded:
                cosine = F.cosine_similarity(ours.flatten(), exact.float().flatten(), 0)
                assert cosine > 0.99, (one["name"], n)
            else:
                torch.testing.assert_close(ours, exact.float(), atol=1e-4, rtol=0)
