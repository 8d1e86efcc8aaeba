"""Which programs an export has, and what a host needs to know to run them."""

from pathlib import Path
from typing import Any

import gemma3n
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.model import Gemma3n
from gemma3n.named import checkpoint_folder
from gemma3n.rounded import refuse_rounded
from gemma3n.save import write_json
from gemma3n.vision.pixels import RESOLUTIONS
from pipelines.export.programs import Program, Text, audio_program, text_program, vision_program
from pipelines.settings.export import ProgramSettings
from stages.resize import checkpoint_resolution
from stages.room import seconds_a_clip

DESCRIPTION = "programs.json"
FRAMES_A_SECOND = 100


def model_programs(
    name: str, size: NestedSize, settings: ProgramSettings
) -> tuple[Gemma3n, list[Program]]:
    """Load a model in float32, and lay out its programs.

    Args:
        name: of the checkpoint.
        size: nested size.
        settings: parts and shapes.

    Returns:
        The model, and the programs, those of a part one after the other.

    Raises:
        SettingsError: a part or a resolution that there is not, or a rounded checkpoint.
    """
    refuse_rounded(Config.from_folder(checkpoint_folder(name)), "exported as programs")
    parts = [part.value for part in settings.parts] or None
    model = gemma3n.load(name, size, parts=parts, precision="float32", device="cpu", pack=False)
    programs = []
    if "vision" in model.parts:
        sides = settings.resolutions or [checkpoint_resolution(model.checkpoint.folder)]
        if strange := [side for side in sides if side not in RESOLUTIONS]:
            raise SettingsError(
                f"program.resolutions={strange}; accepted are {', '.join(map(str, RESOLUTIONS))}. "
                "Choose among them."
            )
        programs += [vision_program(model, side) for side in sides]
    if "audio" in model.parts:
        seconds = settings.seconds or seconds_a_clip(model.config)
        programs.append(audio_program(model, round(seconds * FRAMES_A_SECOND)))
    if "text" in model.parts:
        lengths = [*settings.prefill, 1]
        programs += [text_program(model, seq, settings.context) for seq in lengths]
    return model, programs


def describe(folder: Path, model: Gemma3n, programs: list[Program], files: dict[str, str]) -> None:
    """Write what a host needs to know beside the programs.

    Args:
        folder: of the export.
        model: that was exported.
        programs: of it.
        files: the file of each program, by its part and name, as "text/decode".
    """
    content: dict[str, Any] = {
        "model": str(model.checkpoint.name),
        "size": model.size_name,
        "programs": [
            {
                "file": files[f"{program.part}/{program.name}"],
                "name": program.name,
                "inputs": [
                    {
                        "name": name,
                        "dtype": str(tensor.dtype).removeprefix("torch."),
                        "shape": list(tensor.shape),
                    }
                    for name, tensor in program.inputs.items()
                ],
                "outputs": program.outputs,
            }
            for program in programs
        ],
    }
    text = next((p.module for p in programs if isinstance(p.module, Text)), None)
    if text is not None:
        content["text"] = {
            "layers": list(text.size.widths),
            "embedding_scale": model.config.text.hidden_size**0.5,
            "padding_position": text.context,
            "how": (
                "embeddings are rows of embed_tokens times embedding_scale, or soft tokens; rows "
                "are those of embed_tokens_per_layer, as they are, of these layers, row 0 for "
                "soft tokens; the cache begins as zeros; positions ascend from 0"
            ),
        }
    write_json(folder / DESCRIPTION, content)
