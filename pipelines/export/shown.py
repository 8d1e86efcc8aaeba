"""Pictures and clips of labelled rows -> what programs of the towers are given."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gemma3n.audio.mel import log_mel
from gemma3n.errors import SettingsError
from gemma3n.vision.pixels import image_pixels
from pipelines.export.programs import Program
from pipelines.training.clip import heard
from pipelines.training.examples import Example, Kind, read_examples
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
        SettingsError: no such manifest, or a tower to which no row shows anything.
        InputError: a file that cannot be read.
    """
    examples, found = read_examples(manifests), {}
    for program in programs:
        if program.part not in _KIND:
            continue
        some = [one for one in examples if one.kind is _KIND[program.part]]
        some = some[:: max(1, len(some) // count)][:count]
        make = _pictures if program.part == "vision" else _clips
        found[program.name] = list(make(program, folder, some))
        if not found[program.name]:
            raise SettingsError(
                f"{', '.join(manifests)}: no row shows anything to {program.name} of the "
                f"{program.part} tower. Give rows with {_KIND[program.part].value} as well, or "
                "leave the part out with program.parts=."
            )
    return found


def _pictures(
    program: Program, folder: Path, examples: Sequence[Example]
) -> Iterator[tuple[Tensor, ...]]:
    side = program.inputs["pixels"].shape[-1]
    for example in examples:
        pixels = torch.from_numpy(image_pixels(read_image(str(example.path)), side))
        yield (pixels[None].float() / 255,)


def _clips(
    program: Program, folder: Path, examples: Sequence[Example]
) -> Iterator[tuple[Tensor, ...]]:
    """Clips, cut or said again until they fill the program: what padding computes is no sound."""
    frames, config = program.inputs["mels"].shape[1], mel_config(folder)
    for example in examples:
        mel = torch.from_numpy(log_mel(heard(example, None)[0], config))
        whole = mel.repeat(-(-frames // len(mel)), 1)[:frames]
        yield whole[None], torch.ones(1, frames, dtype=torch.bool)
