from collections import OrderedDict

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reuse import hit_rate, in_turns, reuse_distances


@given(ids=st.lists(st.integers(0, 9), min_size=1, max_size=60), rows=st.integers(1, 11))
def test_the_hit_rate_of_every_size_is_that_of_such_a_cache(ids: list[int], rows: int) -> None:
    kept: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for token in ids:
        hits += token in kept
        kept[token] = None
        kept.move_to_end(token)
        if len(kept) > rows:
            kept.popitem(last=False)
    assert hit_rate(reuse_distances(np.array(ids)), rows) == hits / len(ids)


def test_a_batch_reads_its_texts_side_by_side() -> None:
    assert in_turns(np.arange(7), 3).tolist() == [0, 2, 4, 1, 3, 5]
