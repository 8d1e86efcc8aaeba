import torch

from gemma3n.config import FULL, SLIDING, TextConfig
from gemma3n.text.attention import (
    Attention,
    attention_masks,
    rope_table,
    rotate,
    whole_sequence,
)

CONFIG = TextConfig(
    hidden_size=5,
    num_hidden_layers=6,
    num_kv_shared_layers=1,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=6,
)


def test_a_local_layer_sees_exactly_its_window_and_a_full_one_everything_earlier() -> None:
    positions = torch.arange(7)[None]
    masks = attention_masks(positions, whole_sequence(positions), window=3)
    assert masks[SLIDING][0, 0].sum(-1).tolist() == [1, 2, 3, 3, 3, 3, 3]
    assert masks[SLIDING][0, 0, 5].nonzero().flatten().tolist() == [3, 4, 5]
    assert torch.equal(masks[FULL][0, 0], torch.ones(7, 7, dtype=torch.bool).tril())


def test_padding_is_not_seen_and_sees_something() -> None:
    positions = torch.tensor([[-1, -1, 0, 1]])
    masks = attention_masks(positions, whole_sequence(positions), window=9)
    assert masks[FULL][0, 0, :2].any(-1).all()
    assert masks[FULL][0, 0, 2:].tolist() == [
        [False, False, True, False],
        [False, False, True, True],
    ]


def test_rotation_keeps_lengths_and_makes_scores_relative() -> None:
    query, key = torch.randn(1, 1, 1, 6), torch.randn(1, 1, 1, 6)

    def score(at: int, of: int) -> torch.Tensor:
        tables = [rope_table(torch.tensor([[n]]), 1e4, 6, torch.float32) for n in (at, of)]
        return (rotate(query, tables[0]) * rotate(key, tables[1])).sum()

    torch.testing.assert_close(score(9, 4), score(105, 100))
    rotated = rotate(query, rope_table(torch.tensor([[77]]), 1e4, 6, torch.float32))
    torch.testing.assert_close(rotated.norm(), query.norm())


def test_a_kv_sharing_layer_has_no_key_and_value_weights() -> None:
    names = dict(Attention(CONFIG, 5).named_parameters())
    assert sorted(names) == ["o_proj.weight", "q_norm.weight", "q_proj.weight"]
    assert "v_norm.weight" not in dict(Attention(CONFIG, 0).named_parameters())


def test_heads_of_a_group_share_keys_and_values() -> None:
    attention, x = Attention(CONFIG, 0), torch.randn(2, 3, 5)
    positions = torch.arange(3).expand(2, 3)
    rope = rope_table(positions, 1e4, 6, torch.float32)
    mask = attention_masks(positions, whole_sequence(positions), 9)[FULL]
    key, value = attention.keys_values(x, rope)
    query = rotate(attention.q_norm(attention.q_proj(x).view(2, 3, 4, 6)), rope)
    heads = []
    for head in range(4):
        scores = query[:, :, head] @ key[:, :, head // 2].transpose(1, 2)  # no 1 / sqrt(head_dim)
        weights = scores.masked_fill(~mask[:, 0], -torch.inf).softmax(-1)
        heads.append(weights @ value[:, :, head // 2])
    expected = attention.o_proj(torch.cat(heads, -1))
    attended = attention(attention.query(x, rope), mask, (key, value))
    torch.testing.assert_close(attention.o_proj(attended), expected)


def test_a_single_query_attends_as_the_last_of_several() -> None:
    attention, query = Attention(CONFIG, 0), torch.randn(2, 3, 4, 6)
    kv = torch.randn(2, 9, 2, 6), torch.randn(2, 9, 2, 6)
    mask = torch.rand(2, 1, 3, 9) < 0.5
    mask[..., 0] = True
    several = attention(query, mask, kv)
    alone = attention(query[:, -1:], mask[:, :, -1:], kv)
    torch.testing.assert_close(alone, several[:, -1:])
