"""Cross-entropy of the phone that each frame is in, from a forced alignment.

Beside CTC it takes away the plateau on which everything is blank.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

PHONES = [
    *("SIL", "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY"),
    *("F", "G", "HH", "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S"),
    *("SH", "T", "TH", "UH", "UW", "V", "W", "Y", "Z", "ZH"),
]
_IGNORED = -100


class Phones(nn.Module):
    """Labels conformer frames, or soft tokens, with the phones of CMUdict.

    Args:
        width: of what is labelled.
        together: frames that each of them stands for, 1 for conformer frames. A soft token that
            must name all of its frames keeps what the decoder needs of those that are dropped.
    """

    def __init__(self, width: int, together: int = 1) -> None:
        super().__init__()
        self.together = together
        self.head = nn.Linear(width, together * len(PHONES))

    def forward(self, frames: Tensor, alignments: list[str | None]) -> Tensor:
        """Mean loss of a batch, in nats a frame; 0 if no clip has an alignment.

        Args:
            frames: [batch, frames / together, width], 40 ms each before division.
            alignments: "AH:3 B:7 ...", a phone and its length in frames, or None.
        """
        batch, places, _ = frames.shape
        targets = torch.full((batch, places * self.together), _IGNORED)
        for row, alignment in zip(targets, alignments, strict=True):
            if alignment:
                labels = frame_labels(alignment)[: len(row)]
                row[: len(labels)] = torch.tensor(labels)
        if bool((targets == _IGNORED).all()):
            return frames.sum() * 0
        scores = self.head(frames).float().view(-1, len(PHONES))
        return F.cross_entropy(scores, targets.flatten().to(frames.device), ignore_index=_IGNORED)


def frame_labels(alignment: str) -> list[int]:
    """One phone id a frame."""
    labels: list[int] = []
    for word in alignment.split():
        phone, length = word.split(":")
        labels += [PHONES.index(phone)] * int(length)
    return labels
