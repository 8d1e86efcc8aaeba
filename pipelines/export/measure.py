"""What LiteRT makes of exported programs: how near to the model, and how fast beside it.

`python -m pipelines.export.measure vision/` runs each program of a folder that `gemma3n export
to=litert` wrote, in turns with the model that it was made of, which is in float32, on as many
threads. It needs LiteRT (`pip install .[litert]`), and the checkpoint where it was.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import resolve_size
from gemma3n.named import checkpoint_folder
from pipelines.console import console
from pipelines.exit_code import DONE, WRONG_USE
from pipelines.export.model_programs import DESCRIPTION, FRAMES_A_SECOND, model_programs
from pipelines.export.programs import Program, arguments
from pipelines.export.shown import shown
from pipelines.settings import Part
from pipelines.settings.export import ProgramSettings

_Run = Callable[[], Sequence[Tensor]]


@dataclass(frozen=True)
class Measured:
    """A program beside the part of the model that it was made of."""

    name: str
    file: Path
    difference: float  # largest of an output
    cosine: float  # of the output that is least alike
    seconds: float  # of a call, median
    model_seconds: float


def main(words: Sequence[str] | None = None) -> int:
    """Measure, and print a line a program.

    Returns:
        Exit code.
    """
    parser = argparse.ArgumentParser(prog="python -m pipelines.export.measure", description=__doc__)
    parser.add_argument("folder", type=Path, help="that `gemma3n export to=litert` wrote")
    parser.add_argument(
        "--rows", nargs="+", default=[], help="manifests, whose first picture and clip towers get"
    )
    parser.add_argument("--repeat", type=int, default=5, help="calls of each, after one to warm up")
    asked = parser.parse_args(words)
    if asked.repeat < 1:
        parser.error(f"--repeat={asked.repeat}; at least 1. Raise it.")
    columns = "largest difference", "least cosine", "LiteRT, ms", "the model, ms"
    table = Table("program", "file, MB", *columns)
    try:
        for one in measured(asked.folder, asked.repeat, asked.rows):
            size = f"{one.file.stat().st_size / 1e6:.1f}"
            near = f"{one.difference:.1e}", f"{one.cosine:.5f}"
            times = f"{1e3 * one.seconds:.0f}", f"{1e3 * one.model_seconds:.0f}"
            table.add_row(one.name, size, *near, *times)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE
    console().print(table)
    return DONE


def measured(folder: Path, repeat: int, manifests: Sequence[str] = ()) -> list[Measured]:
    """Run all programs of a folder, each in turns with the model.

    Args:
        folder: that `gemma3n export to=litert` wrote.
        repeat: calls of each that are timed.
        manifests: whose first picture and clip the towers are given, as `shown` makes them; none:
            random numbers.

    Raises:
        SettingsError: it holds no such export, LiteRT is missing, or the checkpoint is, or see
            `shown`.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise SettingsError(
            "This runs programs with ai_edge_litert, which is not installed. Install "
            "gemma3n-pipelines[litert]."
        ) from error
    try:
        content = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"'{folder}' holds no {DESCRIPTION} that can be read. Give a folder of `gemma3n "
            "export to=litert`."
        ) from error
    found, threads, model = [], torch.get_num_threads(), checkpoint_folder(content["model"])
    programs = _programs(content, model)
    given = shown(programs, model, manifests, 1) if manifests else {}
    for described, program in zip(content["programs"], programs, strict=True):
        if program.name in given:
            program.inputs = dict(zip(program.inputs, given[program.name][0], strict=True))
        file = folder / described["file"]
        if file.suffix != ".tflite":
            raise SettingsError(f"'{file}' is not LiteRT's. Export it with to=litert.")
        interpreter = Interpreter(str(file), num_threads=threads)
        litert = _litert(interpreter.get_signature_runner(program.name), program)
        found.append(_measured(program, file, litert, repeat))
    return found


def _programs(content: dict[str, Any], folder: Path) -> list[Program]:
    """The programs of the checkpoint in `folder` that a description tells of, in its shapes."""
    settings, parts = ProgramSettings(prefill=[]), []
    for described in content["programs"]:
        shapes = {one["name"]: one["shape"] for one in described["inputs"]}
        match shapes:
            case {"pixels": [*_, side]}:
                parts.append(Part.vision)
                settings.resolutions.append(side)
            case {"mels": [_, frames, _]}:
                parts.append(Part.audio)
                settings.seconds = frames / FRAMES_A_SECOND
            case {"embeddings": [_, tokens, _]}:
                parts.append(Part.text)
                cache = next(shape for name, shape in shapes.items() if name.startswith("keys_"))
                settings.context = cache[1] - 1
                if tokens > 1:
                    settings.prefill.append(tokens)
    settings.parts = list(dict.fromkeys(parts))
    size = resolve_size(content["size"], Config.from_folder(folder))
    return model_programs(content["model"], size, settings)[1]


def _litert(runner: Callable[..., dict[str, Any]], program: Program) -> _Run:
    given = arguments(program.given)
    outputs = range(len(program.outputs))

    def run() -> list[Tensor]:
        found = runner(**given)
        return [torch.from_numpy(found[f"output_{n}"]) for n in outputs]

    return run


def _measured(program: Program, file: Path, litert: _Run, repeat: int) -> Measured:
    def model() -> Sequence[Tensor]:
        found = program.module(*program.given)
        return found if isinstance(found, tuple) else (found,)

    differences, cosines, seconds = [], [], ([], [])  # type: ignore[var-annotated]
    with torch.inference_mode():
        for exact, near in zip(model(), litert(), strict=True):
            exact, near = exact.double().flatten(), near.double().flatten()
            differences.append(float((exact - near).abs().max()))
            cosines.append(float(F.cosine_similarity(exact, near, 0)))
        for _ in range(repeat):
            for run, times in zip((litert, model), seconds, strict=True):
                start = time.perf_counter()
                run()
                times.append(time.perf_counter() - start)
    medians = [statistics.median(times) for times in seconds]
    return Measured(program.name, file, max(differences), min(cosines), *medians)


if __name__ == "__main__":
    sys.exit(main())
