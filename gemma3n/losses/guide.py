"""Guided attention: heads of the decoder are pulled to where in the clip the next word is said.

By itself a decoder is slow to find out where to listen: it learns to recite first. After Tachibana
2017 (arXiv 1710.08969), with the alignment that CTC finds in the place of a diagonal.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from gemma3n.config import FULL
from gemma3n.text.attention import KV
from gemma3n.text.decoder import Decoder

_WITHIN = 1  # soft tokens before and after that are as good


@dataclass
class Watched:
    """Where the guided heads looked, once a layer and pass."""

    queries: int  # the last ones of the sequence
    attention: list[Tensor] = field(default_factory=list)  # [batch, heads, queries, keys], log

    def __call__(self, _: nn.Module, given: tuple[Tensor, Tensor, KV], __: Tensor) -> None:
        """What is called after each pass of a watched layer."""
        query, mask, (key, _values) = given
        last = slice(-self.queries, None)
        query = query[:, last].transpose(1, 2)
        guided = query[:, : query.shape[1] // 2]
        # Each key head serves as many query heads, next to each other.
        key = key.transpose(1, 2).repeat_interleave(query.shape[1] // key.shape[2], 1)
        scores = guided @ key[:, : guided.shape[1]].mT
        scores = scores.masked_fill(~mask[:, :, last], float("-inf"))
        self.attention.append(scores.float().log_softmax(-1))


@contextmanager
def watching(decoder: Decoder, queries: int) -> Iterator[Watched]:
    """Watch half the heads of the layers that attend to the whole sequence.

    Args:
        decoder: of any nested size.
        queries: how many of the last tokens to watch.
    """
    watched = Watched(queries)
    with ExitStack() as hooks:
        # Computed again in backward, a layer would be watched a second time, or no more.
        hooks.callback(setattr, decoder, "recompute", decoder.recompute)
        decoder.recompute = False
        for number, kind in enumerate(decoder.config.layer_types):
            if kind == FULL and str(number) in decoder.layers:
                attention: nn.Module = decoder.layer(number).self_attn
                hooks.enter_context(attention.register_forward_hook(watched))
        yield watched


def guide_loss(watched: Watched, wanted: Tensor) -> Tensor:
    """How far the watched heads look elsewhere, in nats.

    Args:
        watched: of all passes.
        wanted: bool [batch, queries, keys], True where a query should look; none True: anywhere.
    """
    asked = wanted.any(-1)  # [batch, queries]
    if not watched.attention or not bool(asked.any()):
        return wanted.new_zeros((), dtype=torch.float32)
    losses = []
    for attention in watched.attention:
        there = attention.masked_fill(~wanted[:, None], float("-inf")).logsumexp(-1)
        losses.append(-there.transpose(1, 2)[asked].mean())
    return torch.stack(losses).mean()


def wanted_keys(
    token_ids: Tensor,
    placeholder: int,
    spelt: Tensor,
    rows: Sequence[tuple[int, slice]],
    spans: Sequence[Sequence[int]],
    every: int,
) -> Tensor:
    """Where each token should look to say the next one.

    Args:
        token_ids: int64 [batch, seq], rows of a prompt with one clip, and an answer.
        placeholder: id in whose places soft tokens of a clip go.
        spelt: int64 [batch, seq], letters of the answer said up to and with each token.
        rows: the sequence that each row is in, and its tokens there.
        spans: the frame in which each letter of a row's answer begins; none if it is not known.
        every: frames a soft token stands for.

    Returns:
        bool [batch, seq, seq]
    """
    batch, seq = token_ids.shape
    wanted = torch.zeros(batch, seq, seq, dtype=torch.bool)
    for (sequence, span), frames in zip(rows, spans, strict=True):
        places = (token_ids[sequence, span] == placeholder).nonzero().flatten().tolist()
        if not frames or not places:
            continue
        said = spelt[sequence, span].tolist()
        own = wanted[sequence, span, span]
        for at in range(len(said) - 1):
            first, end = said[at], said[at + 1]
            if first < end <= len(frames):
                begin = places[0] + max(frames[first] // every - _WITHIN, 0)
                last = min(places[0] + frames[end - 1] // every + _WITHIN, places[-1])
                own[at, begin : last + 1] = True
    return wanted.to(token_ids.device)
