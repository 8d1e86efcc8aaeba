"""Token ids in the order of their use -> how many an LRU cache of each size would have had.

Mattson et al. 1970: a use hits every cache that holds more rows than there were other ids since
the last use of the same. All sizes at once, from one pass of sorts.
"""

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def reuse_distances(ids: Ints) -> Ints:
    """Different other ids since the last use of the same, for each of ids [n]; -1 for a first."""
    before = _last_uses(ids)
    # Of the uses before this one, those whose own last use is no later than this one's are either
    # up to there, all of them, or the first of their id since: what is asked for.
    count = _no_larger_before(before) - (before + 1)
    return np.where(before < 0, -1, count)


def hit_rate(distances: Ints, rows: int) -> float:
    """Share of uses that a cache of so many rows, empty at first, answers."""
    return float(((distances >= 0) & (distances < rows)).mean())


def in_turns(ids: Ints, rows: int) -> Ints:
    """One text as so many that are read side by side: the order in which a batch uses its ids."""
    length = len(ids) // rows
    return ids[: length * rows].reshape(rows, length).T.ravel()


def _last_uses(ids: Ints) -> Ints:
    """Where each id was used last before, -1 if nowhere."""
    order = np.argsort(ids, kind="stable")
    again = ids[order[1:]] == ids[order[:-1]]
    before = np.full(len(ids), -1, np.int64)
    before[order[1:][again]] = order[:-1][again]
    return before


def _no_larger_before(values: Ints) -> Ints:
    """How many of the values before each are no larger than it; none is below -1."""
    places, high = np.arange(len(values)), len(values) + 2
    count = np.zeros(len(values), np.int64)
    width = 1
    while width < len(values):
        # Each block's right half counts in the left one, which is sorted.
        block = places // width
        keys = np.sort(block * high + values + 1)
        right = block % 2 == 1
        left = block[right] - 1
        upto = np.searchsorted(keys, left * high + values[right] + 1, side="right")
        count[right] += upto - left * width
        width *= 2
    return count
