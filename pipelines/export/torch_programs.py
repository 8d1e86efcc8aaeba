"""A model's parts -> programs of `torch.export` (.pt2), which torch runs without this package."""

from pathlib import Path

import torch

from gemma3n.matformer import NestedSize
from gemma3n.new_checkpoint import copy_companions
from pipelines.export.model_programs import describe, model_programs
from pipelines.settings.export import ProgramSettings


def write_torch(name: str, size: NestedSize, folder: Path, settings: ProgramSettings) -> None:
    """Write one file a program, each with its weights.

    Args:
        name: of the checkpoint.
        size: nested size.
        folder: exists, and is empty.
        settings: parts and shapes.

    Raises:
        SettingsError: see `model_programs`.
    """
    model, programs = model_programs(name, size, settings)
    files = {}
    for program in programs:
        with torch.no_grad():
            exported = torch.export.export(program.module.eval(), program.given)
        file = f"{program.part}_{program.name}.pt2"
        torch.export.save(exported, folder / file)
        files[f"{program.part}/{program.name}"] = file
    describe(folder, model, programs, files)
    copy_companions(model.checkpoint, folder)
