import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.audio.attention import ChunkedAttention, Chunks
from gemma3n.config import AudioConfig


def attend_one_query_at_a_time(
    attention: ChunkedAttention, config: AudioConfig, x: Tensor, mask: Tensor
) -> Tensor:
    """One clip [frames, hidden], by the definition: no chunks."""
    heads, hidden = config.conf_num_attention_heads, config.hidden_size
    past, future = config.conf_attention_context_left - 1, config.conf_attention_context_right
    cap = config.conf_attention_logit_cap
    q, k, v = (
        project(x).view(-1, heads, hidden // heads)
        for project in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    q = q * (hidden // heads) ** -0.5 / math.log(2) * F.softplus(attention.per_dim_scale)
    waves = torch.arange(hidden // 2)
    rates = 1 / 1e4 ** (waves / (hidden // 2 - 1))
    out = torch.zeros(len(x), heads, hidden // heads)
    for i in range(len(x)):
        near = [j for j in range(len(x)) if i - past <= j <= i + future and mask[j]]
        for head in range(heads) if near else ():
            scores = []
            for j in near:
                wave = torch.cat([torch.sin((i - j) * rates), torch.cos((i - j) * rates)])
                position = attention.relative_position_embedding.pos_proj(wave).view(heads, -1)
                score = q[i, head] @ (k[j, head] + position[head])
                scores.append(cap * torch.tanh(score / cap))
            out[i, head] = torch.stack(scores).softmax(0) @ v[near, head]
    return out.flatten(1)


@pytest.mark.parametrize(("size", "left", "right"), [(5, 4, 2), (3, 8, 0), (1, 1, 0), (40, 2, 3)])
def test_chunks_change_nothing(odd_config: AudioConfig, size: int, left: int, right: int) -> None:
    odd_config.conf_attention_chunk_size = size
    odd_config.conf_attention_context_left = left
    odd_config.conf_attention_context_right = right
    attention = ChunkedAttention(odd_config)
    torch.nn.init.normal_(attention.per_dim_scale)
    for project in (attention.q_proj, attention.k_proj):
        torch.nn.init.normal_(project.weight)  # scores that the cap bends
    x, mask = torch.randn(2, 17, 12), torch.ones(2, 17, dtype=torch.bool)
    mask[1, 11:] = False
    chunks = Chunks(odd_config)
    result = attention(x, chunks.visible(mask), chunks.sinusoids(12, like=x))
    for i, real in enumerate([17, 11]):
        expected = attend_one_query_at_a_time(attention, odd_config, x[i], mask[i])
        torch.testing.assert_close(result[i, :real], expected[:real], rtol=1e-4, atol=1e-5)
