"""Connectionist temporal classification on the conformer's frames. Graves 2006."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ALPHABET = "abcdefghijklmnopqrstuvwxyz' "
BLANK = 0


class Ctc(nn.Module):
    """Makes the audio tower spell: its frames alone must give the letters in order.

    Args:
        width: of the conformer frames.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.head = nn.Linear(width, 1 + len(ALPHABET))

    def forward(self, frames: Tensor, lengths: Tensor, texts: list[str]) -> Tensor:
        """Mean loss of a batch, in nats a letter.

        Args:
            frames: [batch, frames, width], 40 ms each.
            lengths: int64 [batch], frames of each clip.
            texts: what is said; letters outside the alphabet are left out.
        """
        spelt = [letters(text) for text in texts]
        targets = torch.tensor([i for ids in spelt for i in ids], device=frames.device)
        sizes = torch.tensor([len(ids) for ids in spelt], device=frames.device)
        scores = self.head(frames).float().log_softmax(-1).transpose(0, 1)
        # A clip too short for its text cannot be spelt at all: it counts nothing.
        return F.ctc_loss(scores, targets, lengths, sizes, blank=BLANK, zero_infinity=True)

    def spell(self, frames: Tensor, lengths: Tensor) -> list[str]:
        """The most likely letter of every frame, repeats and blanks taken out."""
        best = self.head(frames).argmax(-1)
        texts = []
        for row, length in zip(best, lengths.tolist(), strict=True):
            ids = torch.unique_consecutive(row[:length]).tolist()
            texts.append("".join(ALPHABET[i - 1] for i in ids if i != BLANK).strip())
        return texts


def letters(text: str) -> list[int]:
    """A text as ids of the alphabet, counted from 1."""
    return [1 + at for character in text.lower() if (at := ALPHABET.find(character)) >= 0]
