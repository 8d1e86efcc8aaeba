"""Rows -> sequences: one each, or several short ones in one, so that less of a batch is padding."""

from collections.abc import Sequence
from itertools import accumulate

Place = tuple[int, slice]  # of a row: number of its sequence, and its tokens there


def sequences(lengths: Sequence[int], pack: bool) -> list[list[int]]:
    """Which rows make up which sequence, by number.

    Args:
        lengths: tokens of each row.
        pack: short rows share a sequence, which gets no longer than the longest row.
    """
    if not pack:
        return [[n] for n in range(len(lengths))]
    # First fit decreasing: each into the first sequence that has room for it, the longest first.
    found: list[list[int]] = []
    room: list[int] = []
    for n in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        at = next((at for at, left in enumerate(room) if left >= lengths[n]), len(room))
        if at == len(room):
            found.append([])
            room.append(max(lengths))
        found[at].append(n)
        room[at] -= lengths[n]
    return found


def places(shared: Sequence[Sequence[int]], lengths: Sequence[int]) -> list[Place]:
    """Where each row is, sequence by sequence.

    Args:
        shared: rows of each sequence, from `sequences`.
        lengths: tokens of each row, by its number.
    """
    found = []
    for number, rows in enumerate(shared):
        ends = accumulate(lengths[n] for n in rows)
        found += [(number, slice(end - lengths[n], end)) for n, end in zip(rows, ends, strict=True)]
    return found
