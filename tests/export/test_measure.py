"""Exported programs run and beside the model, with torch in LiteRT's place."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

import gemma3n
from gemma3n.errors import SettingsError
from gemma3n.matformer import resolve_size
from pipelines.export.litert import check_runs
from pipelines.export.measure import main, measured
from pipelines.export.torch_programs import write_torch
from pipelines.settings import Part
from pipelines.settings.export import ProgramSettings

DESCRIPTION = "programs.json"


class Torch:
    """An interpreter as LiteRT's, of programs of `torch.export`; what they give is half as much."""

    def __init__(self, path: str, num_threads: int | None = None) -> None:
        assert num_threads in (None, torch.get_num_threads())
        self.module = torch.export.load(path).module()

    def get_signature_runner(self, name: str) -> Callable[..., dict[str, Any]]:
        def run(**given: Any) -> dict[str, Any]:
            found = self.module(*(torch.from_numpy(one) for one in given.values()))
            found = found if isinstance(found, tuple) else (found,)
            return {f"output_{n}": (one / 2).numpy() for n, one in enumerate(found)}

        return run


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory, nano: gemma3n.Gemma3n) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    settings = ProgramSettings(parts=[Part.text], prefill=[6], context=20)
    write_torch("nano", resolve_size("small", nano.config), folder, settings)
    text = (folder / DESCRIPTION).read_text()
    for path in list(folder.glob("*.pt2")):
        path.rename(path.with_suffix(".tflite"))
    (folder / DESCRIPTION).write_text(text.replace(".pt2", ".tflite"))
    return folder


@pytest.fixture
def litert(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("interpreter")
    module.Interpreter = Torch  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ai_edge_litert", ModuleType("ai_edge_litert"))
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", module)


@pytest.mark.usefixtures("litert")
def test_programs_are_compared_with_the_model_of_their_shapes(
    exported: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prefill, decode = measured(exported, repeat=1)
    assert (prefill.name, decode.name) == ("prefill_6", "decode")
    for one in prefill, decode:
        assert one.cosine == pytest.approx(1, abs=1e-4)
        assert one.difference > 1
        assert min(one.seconds, one.model_seconds) > 0
    assert main([str(exported), "--repeat", "1"]) == 0
    assert "prefill_6" in capsys.readouterr().out


@pytest.mark.usefixtures("litert")
def test_what_is_no_export_for_litert_is_refused(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no programs.json" in capsys.readouterr().err
    (tmp_path / DESCRIPTION).write_text('{"model": ')
    assert main([str(tmp_path)]) == 2
    assert "that can be read. Give a folder of `gemma3n export" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([str(exported), "--repeat", "0"])
    assert "--repeat=0; at least 1. Raise it." in capsys.readouterr().err
    content = json.loads((exported / DESCRIPTION).read_text())
    for one in content["programs"]:
        one["file"] = one["file"].replace(".tflite", ".pt2")
    (tmp_path / DESCRIPTION).write_text(json.dumps(content))
    with pytest.raises(SettingsError, match=r"is not LiteRT's. Export it with to=litert"):
        measured(tmp_path, repeat=1)


@pytest.mark.usefixtures("litert")
def test_a_program_that_litert_does_not_run_is_refused(
    exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = next(exported.glob("*decode.tflite"))
    description = json.loads((exported / DESCRIPTION).read_text())["programs"][-1]
    given = {one["name"]: torch.zeros(one["shape"]).numpy() for one in description["inputs"]}
    given["positions"] = torch.zeros(1, 1, dtype=torch.int32).numpy()
    check_runs(path, {"decode": [given]})

    def broken(self: Torch, name: str) -> Callable[..., object]:
        def run(**given: Any) -> object:
            raise RuntimeError("zero_point != 0 (-3 != 0)")

        return run

    monkeypatch.setattr(Torch, "get_signature_runner", broken)
    with pytest.raises(SettingsError, match=r"does not run decode .* \(-3 != 0\) Leave calibrate"):
        check_runs(path, {"decode": [given]})


def test_a_missing_litert_is_named(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with pytest.raises(SettingsError, match=r"Install gemma3n-pipelines\[litert\]"):
        measured(exported, repeat=1)
