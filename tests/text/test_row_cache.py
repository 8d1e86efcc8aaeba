"""Rows from a cache are the table's, and those that it keeps are the ones used last."""

import itertools
from collections import OrderedDict
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gemma3n.text.ple import HostTable
from gemma3n.text.row_cache import RowCache

VOCAB, LAYERS, PLE = 11, (1, 2, 5), 3
CPU = torch.device("cpu")


class Slow(HostTable):
    """One whose rows a thread has to wait for, and that knows what it was asked."""

    waits = True

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight, LAYERS)
        self.asked: list[list[int]] = []

    def rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        self.asked.append(token_ids.tolist())
        return super().rows(token_ids, layers)


def weight() -> Tensor:
    return torch.arange(VOCAB * len(LAYERS) * PLE).view(VOCAB, len(LAYERS), PLE).bfloat16()


def cached(capacity: int) -> tuple[RowCache, Slow]:
    table = Slow(weight())
    return RowCache(table, VOCAB, capacity, LAYERS, CPU), table


calls = st.lists(
    st.tuples(
        st.lists(st.integers(0, VOCAB - 1), max_size=9),  # ids
        st.lists(st.sampled_from(LAYERS), min_size=1, unique=True).map(sorted),
        st.lists(st.integers(0, VOCAB - 1), max_size=9),  # ids that are brought ahead
    ),
    max_size=7,
)


@given(capacity=st.integers(1, 7), calls=calls)
def test_rows_of_a_cache_are_those_of_its_table_bit_for_bit(
    capacity: int, calls: list[tuple[list[int], list[int], list[int]]]
) -> None:
    cache, _ = cached(capacity)
    plain = HostTable(weight(), LAYERS)
    for ids, layers, ahead in calls:
        cache.ahead(torch.tensor(ahead, dtype=torch.int64), layers)
        tokens = torch.tensor(ids, dtype=torch.int64)
        assert torch.equal(cache.rows(tokens, layers), plain.rows(tokens, layers))
    assert cache.traffic.rows == sum(len(ids) for ids, _, _ in calls)


@given(capacity=st.integers(1, 7), calls=calls)
def test_a_cache_keeps_the_rows_that_were_used_last(
    capacity: int, calls: list[tuple[list[int], list[int], list[int]]]
) -> None:
    cache, table = cached(capacity)
    used: OrderedDict[int, None] = OrderedDict()
    for ids, layers, _ in calls:
        before = set(used)
        table.asked.clear()
        cache.rows(torch.tensor(ids, dtype=torch.int64), layers)
        for token in ids:  # one by one, as the cache does not
            used[token] = None
            used.move_to_end(token)
        while len(used) > capacity:
            used.popitem(last=False)
        assert sorted(itertools.chain(*table.asked)) == sorted(set(ids) - before)
    kept = [token for token in range(VOCAB) if cache._slot_of[token] >= 0]
    assert kept == sorted(used)


def test_rows_that_were_brought_ahead_are_not_brought_again() -> None:
    cache, table = cached(7)
    ids = torch.tensor([4, 9, 4, 2])
    cache.ahead(ids, LAYERS)
    cache.ahead(ids, LAYERS)
    rows = cache.rows(ids[:2], LAYERS)
    assert torch.equal(rows, weight()[ids[:2]])
    assert torch.equal(cache.rows(ids, LAYERS), weight()[ids])
    assert table.asked == [[4, 9, 2]]  # in the order in which they will be asked
    assert (cache.traffic.rows, cache.traffic.moved) == (6, 3)
    assert cache.traffic.bytes == weight()[:3].nbytes
    assert cache.traffic.hit_rate == 0.5


def test_no_more_is_brought_ahead_than_the_cache_can_hold() -> None:
    cache, table = cached(3)
    cache.ahead(torch.arange(9), LAYERS)
    cache.ahead(torch.tensor([10]), LAYERS)
    assert torch.equal(cache.rows(torch.tensor([10, 0]), LAYERS), weight()[[10, 0]])
    assert table.asked == [[0, 1, 2], [10], [0]]  # what came first was let go


def test_of_rows_that_only_pass_through_no_other_columns_come() -> None:
    cache, _ = cached(2)
    rows = cache.rows(torch.tensor([0, 1, 2, 3, 4]), [2])
    assert torch.equal(rows, weight()[:5, 1:2])
    row = len(LAYERS) * PLE * 2
    assert cache.traffic.bytes == 2 * row + 3 * row // len(LAYERS)


def test_a_table_that_fails_leaves_the_cache_as_it_was() -> None:
    cache, table = cached(3)
    cache.rows(torch.tensor([1]), LAYERS)
    whole, table.weight = table.weight, table.weight[:4]
    with pytest.raises(IndexError):
        cache.rows(torch.tensor([1, 2, 8]), LAYERS)
    table.weight = whole
    ids = torch.tensor([8, 2, 1])
    assert torch.equal(cache.rows(ids, LAYERS), whole[ids])


def test_a_cache_made_in_inference_mode_serves_outside_of_it() -> None:
    cache, _ = cached(3)
    with torch.inference_mode():
        cache.rows(torch.tensor([1]), LAYERS)
    assert torch.equal(cache.rows(torch.tensor([2, 1]), LAYERS), weight()[[2, 1]])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="copies beside the compute need CUDA")
@given(capacity=st.integers(1, 7), calls=calls)
def test_rows_come_to_a_gpu_beside_its_work_bit_for_bit(
    capacity: int, calls: list[tuple[list[int], list[int], list[int]]]
) -> None:
    gpu = torch.device("cuda")
    for table in (HostTable(weight().pin_memory(), LAYERS), Slow(weight())):
        cache = RowCache(table, VOCAB, capacity, LAYERS, gpu)
        for ids, layers, ahead in calls:
            cache.ahead(torch.tensor(ahead, dtype=torch.int64), layers)
            tokens = torch.tensor(ids, dtype=torch.int64, device=gpu)
            cache.ahead(tokens, layers)
            rows = cache.rows(tokens, layers)
            assert rows.device.type == "cuda"
            assert torch.equal(rows.cpu(), HostTable(weight(), LAYERS).rows(tokens.cpu(), layers))
