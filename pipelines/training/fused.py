"""A batch as a loaded model reads it: soft tokens where its clips and images go."""

from collections.abc import Sequence

from torch import Tensor

from gemma3n.generate import Prompt
from gemma3n.model import Gemma3n
from pipelines.training.batch import Batch


def fused_rows(model: Gemma3n, batch: Batch, ids: Sequence[list[int]]) -> list[Prompt]:
    """Each row's tokens with the media of the batch.

    Args:
        model: that encodes and fuses.
        batch: of one kind; every row has one clip, one image, or none.
        ids: of each row, with the places of its media.
    """
    audio: list[list[Tensor]] = [[] for _ in ids]
    images: list[list[Tensor]] = [[] for _ in ids]
    if batch.mels is not None and batch.lengths is not None:
        clips = [m[:n] for m, n in zip(batch.mels, batch.lengths.tolist(), strict=True)]
        audio = [[soft] for soft in model.encode_audio(clips)]
    if batch.pixels is not None:
        images = [[soft] for soft in model.encode_images(batch.pixels)]
    rows = zip(ids, audio, images, strict=True)
    return [Prompt(own, model.fuse(own, clips, pictures)) for own, clips, pictures in rows]
