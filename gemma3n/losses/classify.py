"""Which of the known answers an image has: how a vision tower learns before a decoder listens."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classify(nn.Module):
    """A linear classifier of pooled soft tokens.

    Args:
        hidden: text width.
        answers: the classes; images with other answers count nothing.
    """

    def __init__(self, hidden: int, answers: Sequence[str]) -> None:
        super().__init__()
        self.places = {answer: place for place, answer in enumerate(answers)}
        # What all images have in common is far larger than what tells them apart.
        self.norm = nn.BatchNorm1d(hidden, affine=False)
        self.head = nn.Linear(hidden, max(1, len(answers)))

    def forward(self, soft: Tensor, answers: list[str]) -> Tensor:
        """Mean loss of a batch, in nats an image.

        Args:
            soft: [images, tokens, hidden]
            answers: one an image; fewer than two known ones give 0.
        """
        known = [n for n, answer in enumerate(answers) if answer in self.places]
        if len(known) < 2:  # nothing to tell it from
            return soft.sum() * 0
        scores = self.head(self.norm(soft[known].float().mean(1)))
        targets = [self.places[answers[n]] for n in known]
        return F.cross_entropy(scores, torch.tensor(targets, device=scores.device))

    def name(self, soft: Tensor) -> list[str]:
        """The most likely answer for each of [images, tokens, hidden]."""
        answers = list(self.places)
        scores = self.head(self.norm(soft.float().mean(1)))
        return [answers[i] for i in scores.argmax(-1).tolist()]
