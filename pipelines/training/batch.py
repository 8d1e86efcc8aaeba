"""Examples of one kind -> the tensors of a step. Runs in the thread that reads ahead."""

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import chain, compress
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.audio.mel import MelConfig, log_mel
from gemma3n.chat import Turn, parse_template
from gemma3n.losses.ctc import letters
from gemma3n.text.cache import EMPTY
from gemma3n.tokenizer import Tokenizer
from gemma3n.vision.pixels import image_pixels
from pipelines.training.augment import augment_image, mask_mel, warp_mel
from pipelines.training.clip import heard
from pipelines.training.examples import Example, Kind
from pipelines.training.pieces import Resplit
from pipelines.training.sequences import Place, places, sequences
from stages.fuse import prompt_content
from stages.picture import read_image


@dataclass
class Batch:
    """What a step computes on."""

    kind: Kind
    texts: list[str]  # the answers of its rows
    places: list[Place]  # of the rows: in sequences of their own, or several in one
    token_ids: Tensor  # int64 [batch, seq], prompt and answer, padded on the right
    shown: Tensor  # the same as the decoder reads it: some tokens of the answer are wrong
    positions: Tensor  # int64 [batch, seq], from 0 in every row, -1 for padding
    answers: Tensor  # bool [batch, seq], True at answer tokens, the closing one included
    spelt: Tensor  # int64 [batch, seq], letters said up to and with each token; 0 without clips
    row_of: Tensor | None = None  # int64 [batch, seq], of each token, where rows share sequences
    mels: Tensor | None = None  # [rows, frames, bins]
    lengths: Tensor | None = None  # int64 [rows], frames of each clip
    phones: list[str | None] = field(default_factory=list)  # of each clip's frames
    pixels: Tensor | None = None  # [rows, 3, size, size], 0..1

    def pinned(self) -> "Batch":
        """The same in page-locked memory, from where a GPU copies beside what it computes."""
        return self._changed(Tensor.pin_memory)

    def to(self, device: torch.device) -> "Batch":
        """The same on a device; a copy from page-locked memory is not waited for."""
        return self._changed(lambda tensor: tensor.to(device, non_blocking=True))

    def _changed(self, change: Callable[[Tensor], Tensor]) -> "Batch":
        held: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name, value in held.items():
            if isinstance(value, Tensor):
                held[name] = change(value)
        return Batch(**held)


@dataclass(frozen=True)
class Collator:
    """Reads, augments and lays out examples.

    Attributes:
        tokenizer: of the model in training.
        mel: how its mel frames are made.
        resolution: pixels a side of its images.
        prompts: what is asked of a kind, marks in place.
        augment: off for validation.
        wrong: share of an answer's tokens that are shown wrong, so that the decoder does not trust
            them alone, and listens and looks.
        resplit: how answers are cut into tokens; None leaves them as the vocabulary has them.
        image_side: pixels a side to which images are reduced; None leaves them.
        pack: short rows share sequences, and come in another order.
    """

    tokenizer: Tokenizer
    mel: MelConfig
    resolution: int
    prompts: dict[Kind, str]
    augment: bool = True
    wrong: float = 0.0
    resplit: Resplit | None = None
    image_side: int | None = None
    pack: bool = False

    def __call__(self, examples: Sequence[Example], salt: str) -> Batch:
        """One batch.

        Args:
            examples: of one kind.
            salt: changes what augmentation draws, such as the step's number.
        """
        seeds = [zlib.crc32(f"{salt} {n} {e.item}".encode()) for n, e in enumerate(examples)]
        rows = [self._ids(e, seed) for e, seed in zip(examples, seeds, strict=True)]
        said = [self.tokenizer.said(ids) for ids in rows]
        answers = chain.from_iterable(compress(*row) for row in zip(rows, said, strict=True))
        others = [token for token in answers if token not in self.tokenizer.stop_ids]
        lengths = [len(ids) for ids in rows]
        shared = sequences(lengths, self.pack)
        # Media are taken one after the other: rows come as they are in the sequences.
        order = list(chain.from_iterable(shared))
        examples, seeds = [examples[n] for n in order], [seeds[n] for n in order]
        shape = (len(shared), max(lengths))
        batch = Batch(
            kind=examples[0].kind,
            texts=[example.answer for example in examples],
            places=places(shared, lengths),
            token_ids=torch.zeros(shape, dtype=torch.int64),
            shown=torch.zeros(shape, dtype=torch.int64),
            positions=torch.full(shape, EMPTY),
            answers=torch.zeros(shape, dtype=torch.bool),
            spelt=torch.zeros(shape, dtype=torch.int64),
        )
        if len(shared) < len(rows):
            batch.row_of = torch.full(shape, EMPTY)
        for row, (n, place) in enumerate(zip(order, batch.places, strict=True)):
            ids, says = rows[n], said[n]
            batch.token_ids[place] = torch.tensor(ids)
            shown = self._partly_wrong(ids, says, others, seeds[row])
            batch.shown[place] = torch.tensor(shown)
            batch.positions[place] = torch.arange(len(ids))
            batch.answers[place] = torch.tensor(says)
            if batch.row_of is not None:
                batch.row_of[place] = row
            if batch.kind is Kind.audio and not examples[row].chat:
                first = says.index(True)
                batch.spelt[place][first:] = torch.tensor(self._spelt(ids[first:]))
        if batch.kind is Kind.audio:
            clips = [self._clip(e, seed) for e, seed in zip(examples, seeds, strict=True)]
            mels = [mel for mel, _ in clips]
            batch.lengths = torch.tensor([len(mel) for mel in mels])
            batch.mels = torch.nn.utils.rnn.pad_sequence(mels, batch_first=True)
            batch.phones = [phones for _, phones in clips]
        if batch.kind is Kind.image:
            pixels = [self._pixels(e, seed) for e, seed in zip(examples, seeds, strict=True)]
            batch.pixels = torch.stack(pixels).float() / 255
            if self.image_side is not None:
                size = (self.image_side, self.image_side)
                batch.pixels = F.interpolate(batch.pixels, size, mode="area")
        return batch

    def _ids(self, example: Example, seed: int) -> list[int]:
        """The tokens of an example, up to the last that the model says."""
        end_of_turn = self.tokenizer.stop_ids[-1]
        if example.chat:
            ids = self.tokenizer.chat_ids(list(example.chat), open_model_turn=False)
            return ids[: len(ids) - ids[::-1].index(end_of_turn)]
        template = parse_template(self.prompts.get(example.kind, ""))
        clips, images = example.kind is Kind.audio, example.kind is Kind.image
        content = prompt_content(template, example.prompt, int(clips), int(images))
        prompt = self.tokenizer.chat_ids([Turn("user", content)])
        answer = self.tokenizer.encode(example.answer)
        if self.resplit is not None:
            answer = self.resplit(answer, seed)
        return [*prompt, *answer, end_of_turn]

    def _spelt(self, answer: list[int]) -> list[int]:
        """Letters of an answer said up to and with each of its tokens."""
        said = (self.tokenizer.decode(answer[: n + 1]) for n in range(len(answer)))
        return [len(letters(text)) for text in said]

    def _partly_wrong(
        self, ids: list[int], says: list[bool], others: list[int], seed: int
    ) -> list[int]:
        """Tokens of a row, of which those that the model says are wrong now and then."""
        draws = random.Random(f"wrong {seed}")
        return [
            draws.choice(others) if said and others and draws.random() < self.wrong else token
            for token, said in zip(ids, says, strict=True)
        ]

    def _clip(self, example: Example, seed: int) -> tuple[Tensor, str | None]:
        waveform, phones = heard(example, seed if self.augment else None)
        mel = log_mel(waveform, self.mel)
        if self.augment:
            mel = mask_mel(warp_mel(mel, seed, self.mel), seed)
        return torch.from_numpy(mel), phones

    def _pixels(self, example: Example, seed: int) -> Tensor:
        image = read_image(str(example.path))
        if self.augment:
            image = augment_image(image, seed)
        return torch.from_numpy(image_pixels(image, self.resolution))
