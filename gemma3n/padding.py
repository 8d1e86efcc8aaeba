"""Token ids of several rows -> one tensor whose rows all end in its last column."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gemma3n.text.cache import EMPTY


def left_padded(
    rows: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Pad on the left.

    Args:
        rows: token ids, at least one a row.
        pad: id of padding.
        device: of what is returned.

    Returns:
        Token ids and positions, int64 [rows, seq]; the position of padding is `EMPTY`.
    """
    ids = [torch.tensor(list(row), dtype=torch.int64) for row in rows]
    padded = pad_sequence(ids, batch_first=True, padding_value=pad, padding_side="left")
    longest = padded.shape[1]
    lengths = torch.tensor([[len(row)] for row in rows])
    positions = torch.arange(longest) - (longest - lengths)
    positions = torch.where(positions < 0, EMPTY, positions)
    return padded.to(device), positions.to(device)
