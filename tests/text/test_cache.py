import torch
from hypothesis import given
from hypothesis import strategies as st

from gemma3n.config import FULL, SLIDING, TextConfig
from gemma3n.text.cache import KVCache

WINDOW = 5
CONFIG = TextConfig(
    hidden_size=6,
    num_hidden_layers=2,
    num_kv_shared_layers=0,
    num_key_value_heads=1,
    head_dim=1,
    sliding_window=WINDOW,
    layer_types=[SLIDING, FULL],
)


def seen(
    cache: KVCache, positions: torch.Tensor, layer: int, first: int = 0
) -> list[set[tuple[int, int]]]:
    """Feed tokens whose key is their position; (position noted, key) of all that is returned.

    Args:
        cache: to feed.
        positions: int64 [rows, seq], of a row that has the longest text among them.
        layer: whose keys.
        first: of the rows.
    """
    after = int(positions.max()) + 1
    part = cache.part(range(first, first + len(positions)), after - positions.shape[1], after)
    step = part.begin(positions)[CONFIG.layer_types[layer]]
    key = positions.float()[..., None, None]
    keys, values = part.update(layer, key, -key, step)
    assert torch.equal(keys, -values)
    return [
        {(int(p), int(k)) for p, k in zip(where, row, strict=True) if p >= 0}
        for where, row in zip(step.seen, keys[..., 0, 0], strict=True)
    ]


@given(
    padding=st.integers(0, 4),
    chunks=st.lists(st.integers(1, 9), min_size=1, max_size=6),
    layer=st.sampled_from([0, 1]),
)
def test_a_query_finds_every_key_it_may_attend_to_however_the_prompt_was_cut(
    padding: int, chunks: list[int], layer: int
) -> None:
    cache, columns = KVCache(CONFIG, 2, torch.float32, torch.device("cpu")), 0
    for chunk in chunks:
        whole = torch.arange(columns, columns + chunk)
        padded = torch.where(whole >= padding, whole - padding, -1)
        columns += chunk
        for row, found in enumerate(seen(cache, torch.stack([whole, padded]), layer)):
            assert all(position == key for position, key in found)
            queries = (whole, padded)[row]
            for query in queries[queries >= 0].tolist():
                first = max(0, query - WINDOW + 1) if layer == 0 else 0
                assert {(p, p) for p in range(first, query + 1)} <= found


def test_full_layers_grow_past_their_first_block() -> None:
    cache = KVCache(CONFIG, 1, torch.float32, torch.device("cpu"))
    found = [seen(cache, torch.arange(n, n + 100)[None], 1) for n in range(0, 1000, 100)]
    assert found[-1] == [{(p, p) for p in range(1000)}]


def test_sliding_layers_hold_a_window_however_long_the_text() -> None:
    cache = KVCache(CONFIG, 1, torch.float32, torch.device("cpu"))
    seen(cache, torch.arange(3)[None], 0)
    held = cache.bytes()
    seen(cache, torch.arange(3, 500)[None], 0)
    assert cache.bytes() == held == 2 * 4 * (WINDOW + 1)


@given(
    kept=st.lists(st.integers(0, 3), min_size=1, max_size=12),
    start=st.integers(0, 12),
    layer=st.sampled_from([0, 1]),
)
def test_tokens_taken_back_leave_what_a_query_may_attend_to(
    kept: list[int], start: int, layer: int
) -> None:
    drafted = 3  # each pass writes one token and so many guesses, of which `kept` were right
    cache = KVCache(CONFIG, 1, torch.float32, torch.device("cpu"), spare=drafted)
    if start:
        seen(cache, torch.arange(start)[None], layer)
    for right in kept:
        queries = range(start, start + 1 + drafted)
        found = seen(cache, torch.tensor([list(queries)]), layer)[0]
        for query in queries:
            first = max(0, query - WINDOW + 1) if layer == 0 else 0
            assert {(p, p) for p in range(first, query + 1)} <= found
        start += 1 + right


@given(layer=st.sampled_from([0, 1]), long=st.integers(1, 20), short=st.integers(1, 20))
def test_a_row_begins_anew_in_the_place_of_another(layer: int, long: int, short: int) -> None:
    cache = KVCache(CONFIG, 3, torch.float32, torch.device("cpu"))
    both = torch.stack([torch.arange(long), torch.arange(long)])
    seen(cache, both, layer)
    cache.move(1, 0)
    cache.clear(range(1, 3))
    assert seen(cache, torch.arange(short)[None], layer, first=1) == [
        {(p, p) for p in range(short)}
    ]
    (moved,) = seen(cache, torch.tensor([[long]]), layer)
    first = max(0, long - WINDOW + 1) if layer == 0 else 0
    assert {(p, p) for p in range(first, long + 1)} <= moved
