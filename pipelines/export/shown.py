"""Pictures and clips of labelled rows -> what programs of the towers are given."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from gemma3n.audio.mel import log_mel
from gemma3n.errors import SettingsError
from gemma3n.vision.pixels import image_pixels
from pipelines.export.programs import Program
from pipelines.training.clip import heard
from pipelines.training.examples import Example, Kind, needed, read_examples, spread
from stages.mel import mel_config
from stages.picture import read_image

_KIND = {"vision": Kind.image, "audio": Kind.audio}


def shown(
    programs: Sequence[Program], folder: Path, manifests: Sequence[str], count: int
) -> dict[str, list[tuple[Tensor, ...]]]:
    """What each tower's program is given, by its name; programs of the text decoder have nothing.

    Args:
        programs: of one model.
        folder: of its checkpoint.
        manifests: jsonl, with `text`, and `image` or `audio`.
        count: rows of each kind, spread evenly.

    Raises:
        SettingsError: no such manifest, a file that cannot be read, or a tower to which no row
            shows anything.
    """
    examples = read_examples(manifests)
    found: dict[str, list[tuple[Tensor, ...]]] = {}
    for program in programs:
        if program.part not in _KIND:
            continue
        kind = _KIND[program.part]
        make = _picture if kind is Kind.image else _clip
        rows = found[program.name] = []
        for example in spread([one for one in examples if one.kind is kind], count):
            with needed(example):
                rows.append(make(program, folder, example))
        if not rows:
            raise SettingsError(
                f"{', '.join(manifests)}: no row shows anything to {program.name} of the "
                f"{program.part} tower. Give rows with {kind.value} as well, or leave the part "
                "out with program.parts=."
            )
    return found


def _picture(program: Program, folder: Path, example: Example) -> tuple[Tensor, ...]:
    side = program.inputs["pixels"].shape[-1]
    pixels = torch.from_numpy(image_pixels(read_image(str(example.path)), side))
    return (pixels[None].float() / 255,)


def _clip(program: Program, folder: Path, example: Example) -> tuple[Tensor, ...]:
    """A clip, cut or said again until it fills the program: what padding computes is no sound."""
    frames = program.inputs["mels"].shape[1]
    mel = torch.from_numpy(log_mel(heard(example, None)[0], mel_config(folder)))
    whole = mel.repeat(-(-frames // len(mel)), 1)[:frames]
    return whole[None], torch.ones(1, frames, dtype=torch.bool)
