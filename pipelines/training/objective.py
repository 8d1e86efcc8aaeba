"""The losses of a step, summed by weight: a batch in, a scalar and its parts out."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gemma3n.joint import Weighted, first_answer, joint_loss
from gemma3n.losses.classify import Classify
from gemma3n.losses.contrastive import Contrastive
from gemma3n.losses.ctc import Ctc
from gemma3n.losses.guide import guide_loss, wanted_keys, watching
from gemma3n.losses.phones import Phones
from gemma3n.trainable import Trainable
from pipelines.settings import LossSettings
from pipelines.training.batch import Batch
from pipelines.training.device import Products, mixed


@dataclass
class Encoded:
    """What the towers made of a batch."""

    images: list[Tensor]  # soft tokens
    audio: list[Tensor]
    frames: Tensor | None = None  # [batch, frames, width], 40 ms each
    frame_lengths: Tensor | None = None


class Objective(nn.Module):
    """The heads of the auxiliary losses, and the sum.

    Args:
        model: that is trained.
        weights: of the losses; one with weight 0 is not computed.
        classes: answers that the image classifier knows.
        products: number formats of the model's matrix products.
    """

    def __init__(
        self,
        model: Trainable,
        weights: LossSettings,
        classes: Sequence[str],
        products: Products | None = None,
    ) -> None:
        super().__init__()
        self.weights, self.products = weights, products or Products()
        hidden = model.config.text.hidden_size
        self.contrastive = Contrastive(hidden)
        self.classify = Classify(hidden, classes)
        if model.config.audio is not None:
            self.ctc = Ctc(model.config.audio.hidden_size)
            self.phones = Phones(model.config.audio.hidden_size)
            self.soft_phones = Phones(hidden, model.config.audio.conf_reduction_factor)

    def forward(
        self, model: Trainable, batch: Batch, sizes: Sequence[Weighted]
    ) -> dict[str, Tensor]:
        """The losses of a batch, each times its weight; their sum is to be lowered."""
        encoded = encode(model, batch, self.products)
        losses: dict[str, Tensor] = {}
        if self.weights.answer:
            with mixed(batch.token_ids.device, self.products.others):
                losses |= self._answers(model, batch, encoded, sizes)
        if encoded.frames is not None and encoded.frame_lengths is not None:
            if self.weights.ctc:
                ctc = self.ctc(encoded.frames, encoded.frame_lengths, batch.texts)
                losses["ctc"] = self.weights.ctc * ctc
            if self.weights.phones:
                clips = nn.utils.rnn.pad_sequence(encoded.audio, batch_first=True)
                losses["phones"] = self.weights.phones * self.phones(encoded.frames, batch.phones)
                losses["soft phones"] = self.weights.phones * self.soft_phones(clips, batch.phones)
        if encoded.images and self.weights.classify:
            classify = self.classify(torch.stack(encoded.images), batch.texts)
            losses["classify"] = self.weights.classify * classify
        if (soft := encoded.images or encoded.audio) and self.weights.contrastive:
            aligned = self.contrastive(soft, said(model, batch))
            losses["contrastive"] = self.weights.contrastive * aligned
        return losses

    def _answers(
        self, model: Trainable, batch: Batch, encoded: Encoded, sizes: Sequence[Weighted]
    ) -> dict[str, Tensor]:
        """Losses of what the decoder says, and of where it listens."""
        embeddings = model.fused(batch.shown, encoded.images, encoded.audio)
        step = (model.text, batch.shown, embeddings, batch.positions, batch.answers, sizes)
        right = (batch.token_ids, batch.row_of)
        if not self.weights.guide or encoded.frames is None or encoded.frame_lengths is None:
            return {"answer": self.weights.answer * joint_loss(*step, *right)}
        spans = self.ctc.align(encoded.frames, encoded.frame_lengths, batch.texts)
        config, audio = model.config, model.config.audio
        assert audio is not None  # there are frames
        wanted = wanted_keys(
            *(batch.token_ids, config.audio_token_id, batch.spelt, batch.places, spans),
            audio.conf_reduction_factor,
        )
        queries = wanted.shape[1] - first_answer(batch.answers) + 1
        with watching(model.text, queries) as watched:
            answer = joint_loss(*step, *right)
        guide = guide_loss(watched, wanted[:, -queries:])
        return {"answer": self.weights.answer * answer, "guide": self.weights.guide * guide}


def said(model: Trainable, batch: Batch) -> list[Tensor]:
    """Embeddings [tokens, hidden] of each answer."""
    return [
        model.text.embed(batch.token_ids[place][batch.answers[place]]) for place in batch.places
    ]


def encode(model: Trainable, batch: Batch, products: Products | None = None) -> Encoded:
    """Pass the batch through the tower of its kind, once for all nested sizes and losses.

    Args:
        model: in training.
        batch: of one kind, where the model is.
        products: number formats of its matrix products; float32 by default.
    """
    products, device = products or Products(), batch.token_ids.device
    if batch.mels is not None and batch.lengths is not None:
        with mixed(device, products.audio):
            audio, frames, lengths = model.soft_audio(batch.mels, batch.lengths)
        return Encoded([], [clip.float() for clip in audio], frames.float(), lengths)
    if batch.pixels is not None:
        with mixed(device, products.others):
            images = model.soft_images(batch.pixels)
        return Encoded(list(images.float()), [])
    return Encoded([], [])
