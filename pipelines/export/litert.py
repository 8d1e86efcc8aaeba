"""A model's parts -> LiteRT programs (.tflite): one file a part, a signature for each shape."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor, nn

from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.new_checkpoint import copy_companions
from gemma3n.readable import bytes_text
from pipelines.export.model_programs import describe, model_programs
from pipelines.export.programs import Program, arguments
from pipelines.export.shown import shown
from pipelines.settings.export import ProgramSettings

_MOST = 2**31  # bytes that the offsets in such a file reach
_Given = Mapping[str, Sequence[tuple[Tensor, ...]]]  # samples of inputs, by a program's name


def write_litert(
    name: str,
    size: NestedSize,
    folder: Path,
    settings: ProgramSettings,
    rounded: bool = False,
    calibrate: Sequence[str] = (),
    rows: int = 0,
) -> None:
    """Write one file a part.

    Args:
        name: of the checkpoint.
        size: nested size.
        folder: exists, and is empty.
        settings: parts and shapes.
        rounded: to int8 weights, activations rounded as they come (dynamic).
        calibrate: manifests whose rows decide how the towers' activations are rounded (static).
        rows: of them, of each kind.

    Raises:
        SettingsError: see `model_programs` and `shown`; or a part that is too large for such a
            file.
    """
    model, programs = model_programs(name, size, settings)
    given = shown(programs, model.checkpoint.folder, calibrate, rows) if calibrate else {}
    files: dict[str, str] = {}
    for part, some in groupby(programs, key=lambda program: program.part):
        several = list(some)
        check_fits(part, several[0].module)
        path = folder / f"{part}.tflite"
        _convert(several, path)
        if rounded:
            _round(path, {one.name: given[one.name] for one in several if one.name in given})
        files |= {f"{part}/{program.name}": path.name for program in several}
    describe(folder, model, programs, files)
    copy_companions(model.checkpoint, folder)


def check_fits(part: str, module: nn.Module) -> None:
    """Refuse a part whose file would be too large.

    Raises:
        SettingsError: it would.
    """
    needed = sum(tensor.nbytes for tensor in module.parameters())
    if needed >= _MOST:
        raise SettingsError(
            f"{part} has {bytes_text(needed)} of float32 weights, and a .tflite file that is "
            f"converted holds less than {bytes_text(_MOST)} (its int8 is made of its float32). "
            "Leave it out with program.parts=, export a smaller nested size, or use to=gguf."
        )


def _convert(programs: list[Program], path: Path) -> None:
    import litert_torch

    converter = litert_torch  # each signature gives a converter that has it and those before
    for program in programs:
        module = _plain(program.module, program.given)
        converter = converter.signature(program.name, module, program.given)
    converter.convert().export(str(path))


def _plain(module: nn.Module, given: tuple[Tensor, ...]) -> nn.Module:
    """The module's graph with sums as the converter knows them: it has none that scale a term."""
    with torch.no_grad():
        exported = torch.export.export(module.eval(), given)
    graph, aten = exported.graph_module.graph, torch.ops.aten
    for node in list(graph.nodes):
        if node.target in (aten.add.Tensor, aten.sub.Tensor) and "alpha" in node.kwargs:
            with graph.inserting_before(node):
                scaled = graph.call_function(aten.mul.Tensor, (node.args[1], node.kwargs["alpha"]))
            scaled.meta = dict(node.meta)
            node.args, node.kwargs = (node.args[0], scaled), {}
    exported.graph_module.recompile()
    return exported.module()


def _round(path: Path, given: _Given) -> None:
    from ai_edge_quantizer import qtyping, quantizer, recipe, recipe_manager

    rounding, operations = recipe_manager.RecipeManager(), qtyping.TFLOperationName
    rounding.load_quantization_recipe(
        recipe.static_wi8_ai8() if given else recipe.dynamic_wi8_afp32()
    )
    # Products of activations: of a constant before one, which the runtime refuses to multiply
    # with. And what comes in and goes out stays float32.
    for operation in (operations.BATCH_MATMUL, operations.INPUT, operations.OUTPUT):
        rounding.add_quantization_config(
            regex=".*",
            operation_name=operation,
            algorithm_key=recipe.AlgorithmName.NO_QUANTIZE,
        )
    made = quantizer.Quantizer(str(path), rounding.get_quantization_recipe())
    samples = {name: [arguments(row) for row in rows] for name, rows in given.items()}
    ranges = made.calibrate(samples, num_threads=torch.get_num_threads()) if samples else None
    made.quantize(ranges).export_model(str(path), overwrite=True)
    if samples:
        check_runs(path, samples)


def check_runs(path: Path, samples: Mapping[str, Sequence[Mapping[str, object]]]) -> None:
    """Run each program once: what can be written with fixed ranges is not always accepted.

    Args:
        path: of the file.
        samples: inputs by their names, by the name of the program.

    Raises:
        SettingsError: LiteRT refuses one.
    """
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    for name, rows in samples.items():
        try:
            interpreter.get_signature_runner(name)(**rows[0])
        except (RuntimeError, ValueError) as error:
            raise SettingsError(
                f"LiteRT does not run {name} with activations in fixed ranges: {error} Leave "
                "calibrate= out, and they are rounded as they come."
            ) from error
