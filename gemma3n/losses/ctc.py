"""Connectionist temporal classification on the conformer's frames. Graves 2006."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

ALPHABET = "abcdefghijklmnopqrstuvwxyz' "
BLANK = 0
_NEVER = float("-inf")


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

    @torch.no_grad()
    def align(self, frames: Tensor, lengths: Tensor, texts: list[str]) -> list[list[int]]:
        """When each letter of a text begins, on the most likely path (Viterbi).

        Args:
            frames: [batch, frames, width]
            lengths: int64 [batch], frames of each clip.
            texts: what is said.

        Returns:
            For each text the frame of each of its letters, ascending; nothing for a clip that is
            too short for its text.
        """
        spelt = [letters(text) for text in texts]
        # A path passes blank, letter, blank, ..., letter, blank; it may step over a blank between
        # two letters that differ.
        states = torch.full((len(texts), 2 * max(map(len, spelt)) + 1), BLANK)
        for row, ids in zip(states, spelt, strict=True):
            row[1 : 2 * len(ids) : 2] = torch.tensor(ids)
        may_skip = (states != BLANK) & (states != _later(states, 2, BLANK))
        scores = self.head(frames).float().log_softmax(-1).cpu()
        emitted = scores.gather(2, states[:, None].expand(-1, scores.shape[1], -1))
        best = emitted[:, 0].masked_fill(torch.arange(states.shape[1]) > 1, _NEVER)
        steps = [torch.zeros_like(states)]  # how many states each frame's best path came from
        for frame in range(1, scores.shape[1]):
            two = _later(best, 2, _NEVER).masked_fill(~may_skip, _NEVER)
            reached, stepped = torch.stack([best, _later(best, 1, _NEVER), two]).max(0)
            inside = (frame < lengths.cpu())[:, None]
            best = torch.where(inside, reached + emitted[:, frame], best)
            steps.append(torch.where(inside, stepped, 0))
        back = torch.stack(steps, 1).numpy()
        return [_walk_back(len(ids), best[n], back[n]) for n, ids in enumerate(spelt)]

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


def _later(states: Tensor, by: int, first: float) -> Tensor:
    """[batch, states], each in the place of a later one."""
    return F.pad(states, (by, 0), value=first)[:, : states.shape[1]]


def _walk_back(count: int, best: Tensor, steps: NDArray[np.int64]) -> list[int]:
    """The frame in which each of `count` letters begins; `steps` is [frames, states]."""
    ends = best[2 * count - 1 : 2 * count + 1]  # its last letter, or the blank after it
    if not count or bool(ends.max() == _NEVER):
        return []
    state = 2 * count - 1 + int(ends.argmax())
    begins = [0] * count
    for frame in reversed(range(len(steps))):
        if state % 2:
            begins[state // 2] = frame
        state -= int(steps[frame, state])
    return begins
