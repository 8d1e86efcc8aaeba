"""Labelled rows, shown to a model that is to be rounded: what inputs its linear maps get."""

from collections.abc import Sequence

import torch

import gemma3n
from gemma3n.generate import Prompt
from gemma3n.gptq import Powers
from gemma3n.matformer import named_sizes
from gemma3n.model import Gemma3n
from gemma3n.quantize import int4_names
from pipelines.asked import asked_by
from pipelines.training.batch import Collator
from pipelines.training.examples import Example, Kind, fitting, needed, read_examples, spread
from pipelines.training.fused import fused_rows
from stages.mel import mel_config
from stages.resize import checkpoint_resolution

_ROOM = 4_000_000_000  # bytes of matrices at once
_SMALL = "small"


def calibration(path: str, manifests: Sequence[str], rows: int) -> Powers:
    """What the maps' inputs are over labelled rows, at the largest and at the small nested size.

    Args:
        path: of the checkpoint, or its name.
        manifests: jsonl, with `text`.
        rows: how many of their rows, spread evenly.

    Raises:
        SettingsError: see `shown_rows`.
    """
    model, shown = shown_rows(path, manifests, rows)
    sizes = [name for name in ("full", _SMALL) if name in named_sizes(model.config)]

    def show() -> None:
        for size in sizes:
            running = model.running(size)
            for row in shown:
                ids = torch.tensor([row.token_ids])
                assert row.embeddings is not None  # they are fused
                positions = torch.arange(ids.shape[1])[None]
                model.text(ids, row.embeddings[None], positions, size=running)

    return Powers(model.text, show, int4_names(model.checkpoint), _ROOM)


def shown_rows(path: str, manifests: Sequence[str], rows: int) -> tuple[Gemma3n, list[Prompt]]:
    """A model in float32, and questions with their answers as it reads them.

    Args:
        path: of the checkpoint, or its name.
        manifests: jsonl, with `text`.
        rows: how many of their rows, spread evenly.

    Raises:
        SettingsError: no such manifest or checkpoint, or a row that cannot be used.
    """
    examples = read_examples(manifests)
    kinds = {example.kind for example in examples}
    media = {Kind.audio: "audio", Kind.image: "vision"}
    parts = ["text", *(part for kind, part in media.items() if kind in kinds)]
    model = gemma3n.load(path, parts=parts, precision="float32", device="cpu")
    examples = fitting(examples, model.config)
    return model, _fused(model, spread(examples, rows))


def _fused(model: Gemma3n, examples: Sequence[Example]) -> list[Prompt]:
    folder = model.checkpoint.folder
    prompts = {Kind.audio: asked_by("transcribe"), Kind.image: asked_by("caption")}
    collate = Collator(
        model.tokenizer, mel_config(folder), checkpoint_resolution(folder), prompts, augment=False
    )
    # One by one, because what padding computes must not count.
    fused: list[Prompt] = []
    for example in examples:
        with needed(example):
            batch = collate([example], "")
        fused += fused_rows(model, batch, batch.token_ids.tolist())
    return fused
