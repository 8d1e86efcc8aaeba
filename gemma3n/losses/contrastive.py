"""Soft tokens of a clip or an image beside the text that belongs to it: InfoNCE (arXiv 1807.03748).

As in CLIP (arXiv 2103.00020): each medium must find its text among those of the batch, and back.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_FIRST_TEMPERATURE = 0.07


class Contrastive(nn.Module):
    """Aligns pooled soft tokens with pooled text embeddings.

    Args:
        hidden: text width.
        joint: width of the space where they meet.
    """

    def __init__(self, hidden: int, joint: int = 128) -> None:
        super().__init__()
        self.media = nn.Linear(hidden, joint, bias=False)
        self.text = nn.Linear(hidden, joint, bias=False)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(_FIRST_TEMPERATURE)))

    def forward(self, soft: list[Tensor], texts: list[Tensor]) -> Tensor:
        """Mean loss of a batch, in nats.

        Args:
            soft: soft tokens [tokens, hidden] of each clip or image.
            texts: embeddings [tokens, hidden] of the text of each.
        """
        scores = self.scores(soft, texts) * self.log_scale.exp()
        right = torch.arange(len(soft), device=scores.device)
        return (F.cross_entropy(scores, right) + F.cross_entropy(scores.T, right)) / 2

    def scores(self, soft: list[Tensor], texts: list[Tensor]) -> Tensor:
        """Cosines [media, texts]."""
        media = self.media(torch.stack([tokens.mean(0) for tokens in soft]))
        text = self.text(torch.stack([tokens.mean(0) for tokens in texts]))
        return F.normalize(media.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
