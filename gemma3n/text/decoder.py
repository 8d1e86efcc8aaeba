"""Fused embeddings + token ids -> hidden -> logits: the MatFormer text decoder of Gemma 3n."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gemma3n.config import FULL, SLIDING, TextConfig
from gemma3n.layers import RMSNorm, rounded
from gemma3n.linear import Linear, TiedEmbedding
from gemma3n.recompute import run
from gemma3n.text.altup import AltUp, close_streams, open_streams
from gemma3n.text.attention import (
    KV,
    Attention,
    attention_masks,
    remember,
    rope_table,
    shared,
    whole_sequence,
)
from gemma3n.text.cache import CachedRows
from gemma3n.text.feedforward import FeedForward
from gemma3n.text.laurel import Laurel
from gemma3n.text.ple import PleTable, consecutive


class Entered(NamedTuple):
    """A layer's tokens on their way into attention."""

    predicted: Tensor  # [streams, batch, seq, hidden], AltUp's guess of the layer's result
    normed: Tensor  # [batch, seq, hidden], the active one as attention and LAuReL read it
    query: Tensor  # [batch, seq, heads, head_dim]
    own: KV | None  # keys and values, of a layer that has its own


class DecoderLayer(nn.Module):
    """One layer: AltUp around (LAuReL + attention, FFN), then its per-layer input."""

    def __init__(self, config: TextConfig, layer: int, width: int) -> None:
        super().__init__()
        hidden, ple, eps = (
            config.hidden_size,
            config.hidden_size_per_layer_input,
            config.rms_norm_eps,
        )
        self.altup = AltUp(config)
        self.laurel = Laurel(config)
        self.self_attn = Attention(config, layer)
        self.mlp = FeedForward(hidden, width, config.activation_sparsity_pattern[layer])
        self.input_layernorm = RMSNorm(hidden, eps)
        self.post_attention_layernorm = RMSNorm(hidden, eps)
        self.pre_feedforward_layernorm = RMSNorm(hidden, eps)
        self.post_feedforward_layernorm = RMSNorm(hidden, eps)
        self.per_layer_input_gate = Linear(hidden, ple)
        self.per_layer_projection = Linear(ple, hidden)
        self.post_per_layer_input_norm = RMSNorm(hidden, eps)

    def forward(
        self,
        streams: Tensor,
        rope: Tensor,
        mask: Tensor,
        per_layer_input: Tensor,
        width: int | None,
        joined: Callable[[KV | None], KV],
    ) -> tuple[Tensor, KV]:
        """Run the layer.

        Args:
            streams: [streams, batch, seq, hidden]
            rope: [2, batch, seq, 1, head_dim], see `Attention`.
            mask: [batch, 1, seq, keys], see `Attention`.
            per_layer_input: [batch, seq, ple]
            width: FFN units to use.
            joined: makes what it attends with of its own keys and values, if it has any: those
                of earlier tokens with them, or an earlier layer's.

        Returns:
            The streams after it, and the keys and values that it attended with.
        """
        entered = self.enter(streams, rope)
        kv = joined(entered.own)
        attended = self.self_attn(entered.query, mask, kv)
        return self.leave(entered, attended, per_layer_input, width), kv

    def enter(self, streams: Tensor, rope: Tensor) -> Entered:
        """Everything before attention; see `forward`."""
        predicted = self.altup.predict(streams)
        normed = self.input_layernorm(predicted[self.altup.active])
        own = self.self_attn.keys_values(normed, rope) if self.self_attn.owns else None
        return Entered(predicted, normed, self.self_attn.query(normed, rope), own)

    def leave(
        self,
        entered: Entered,
        attended: Tensor,
        per_layer_input: Tensor,
        width: int | None = None,
    ) -> Tensor:
        """Everything after attention.

        Args:
            entered: from `enter`.
            attended: [batch, seq, heads * head_dim], from attention.
            per_layer_input: [batch, seq, ple]
            width: FFN units to use.

        Returns:
            The streams after this layer, [streams, batch, seq, hidden].
        """
        predicted, normed = entered.predicted, entered.normed
        attended = self.self_attn.o_proj(attended)
        # The residual base is the un-normed prediction, but LAuReL carries the normed input.
        gated = predicted[self.altup.active] + self.post_attention_layernorm(attended)
        x = (gated + self.laurel(normed)) / math.sqrt(2.0)
        x = x + self.post_feedforward_layernorm(self.mlp(self.pre_feedforward_layernorm(x), width))
        streams = self.altup.correct(predicted, x)
        gate = self.per_layer_input_gate(self.altup.scaled(streams[self.altup.active]))
        gate = F.gelu(gate, approximate="tanh") * per_layer_input
        addition = self.post_per_layer_input_norm(self.per_layer_projection(gate))
        # Stream 0 never gets the per-layer input, whichever stream is active.
        return torch.cat([streams[:1], streams[1:] + addition])


def _capped(logits: Tensor, cap: float) -> Tensor:
    """Logits [..., vocab] between -cap and cap; those given may be overwritten."""
    if torch.is_grad_enabled() or logits.device.type != "cpu":
        return torch.tanh(logits / cap) * cap
    # A row of them stays in a core's cache from one operation to the next, all of them do not.
    for row in logits.view(-1, logits.shape[-1]):
        row.div_(cap).tanh_().mul_(cap)
    return logits


@dataclass(frozen=True)
class Running:
    """The layers that run at one nested size, and how wide each FFN is."""

    widths: dict[int, int]  # by layer, in order
    first_shared: int

    @property
    def own(self) -> tuple[int, ...]:
        """Layers with K/V of their own."""
        return tuple(i for i in self.widths if i < self.first_shared)

    @property
    def shared(self) -> tuple[int, ...]:
        """Layers that attend with an earlier layer's K/V."""
        return tuple(i for i in self.widths if i >= self.first_shared)


class Decoder(nn.Module):
    """The text decoder; layers keep the checkpoint's numbers, so a dropped one leaves a gap.

    Args:
        config: of the checkpoint.
        widths: FFN units of each layer to hold, by its number; None holds all.
    """

    table: PleTable  # set by the loader: it is no parameter and never moves with the module
    recompute = False  # layers, see `gemma3n.recompute`

    def __init__(self, config: TextConfig, widths: dict[int, int] | None = None) -> None:
        super().__init__()
        self.config = config
        hidden, ple, eps = (
            config.hidden_size,
            config.hidden_size_per_layer_input,
            config.rms_norm_eps,
        )
        others = range(config.altup_num_inputs - 1)
        self.embed_tokens = TiedEmbedding(config.vocab_size, hidden)
        self.per_layer_model_projection = Linear(hidden, config.num_hidden_layers * ple)
        self.per_layer_projection_norm = RMSNorm(ple, eps)
        self.altup_projections = nn.ModuleList(Linear(hidden, hidden) for _ in others)
        self.altup_unembed_projections = nn.ModuleList(Linear(hidden, hidden) for _ in others)
        kept = dict(enumerate(config.intermediate_size)) if widths is None else widths
        self.layers = nn.ModuleDict({str(i): DecoderLayer(config, i, w) for i, w in kept.items()})
        self.norm = RMSNorm(hidden, eps)
        self.full = self.running(kept)

    def running(self, widths: dict[int, int]) -> Running:
        """What `forward` needs to know of a nested size, given by `NestedSize.ffn_widths`."""
        return Running(widths, self.config.first_shared_layer)

    def layer(self, number: int) -> DecoderLayer:
        """A layer by the checkpoint's number."""
        return cast(DecoderLayer, self.layers[str(number)])

    def embed(self, token_ids: Tensor) -> Tensor:
        """Scaled text embeddings of int64 [batch, seq]: [batch, seq, hidden]."""
        # Of activations, as the gains are; the table may be left as its file has it.
        dtype = cast(Tensor, self.norm.weight).dtype
        scale = rounded(math.sqrt(self.config.hidden_size), dtype)
        return self.embed_tokens(token_ids).to(dtype) * scale

    def ple_rows(self, token_ids: Tensor, layers: Sequence[int]) -> Tensor:
        """Rows of the PLE table for int64 [batch, seq]: [batch * seq, layers, ple]."""
        return self.table.rows(self._in_table(token_ids), layers)

    def per_layer_inputs(
        self,
        token_ids: Tensor,
        embeddings: Tensor,
        layers: Sequence[int],
        rows: Tensor | None = None,
    ) -> Tensor:
        """What each of the given layers adds to the streams.

        Args:
            token_ids: int64 [batch, seq]
            embeddings: [batch, seq, hidden], fused: soft tokens in place.
            layers: ascending.
            rows: from `ple_rows`, if they have been brought.

        Returns:
            [batch, seq, layers, ple]
        """
        ple, dtype = self.config.hidden_size_per_layer_input, embeddings.dtype
        if rows is None:  # they come while the context is computed
            self.table.ahead(self._in_table(token_ids), layers)
        context = self._project_context(embeddings, layers)
        if rows is None:
            rows = self.ple_rows(token_ids, layers)
        tokens = rows.to(embeddings.device, dtype, non_blocking=True) * rounded(ple**0.5, dtype)
        context = context * rounded(self.config.hidden_size**-0.5, dtype)
        context = self.per_layer_projection_norm(context.view(*context.shape[:-1], -1, ple))
        return (context + tokens.view_as(context)) * rounded(2**-0.5, dtype)

    def _in_table(self, token_ids: Tensor) -> Tensor:
        """Ids of PLE rows, flat: those past the table (image and audio) use row 0."""
        in_table = (token_ids >= 0) & (token_ids < self.config.vocab_size_per_layer_input)
        return torch.where(in_table, token_ids, 0).flatten()

    def ahead(self, token_ids: Sequence[int]) -> None:
        """Begin to bring the PLE rows of tokens that come soon, such as those of a prompt."""
        vocab = self.config.vocab_size_per_layer_input
        ids = [token if 0 <= token < vocab else 0 for token in token_ids]
        self.table.ahead(torch.tensor(ids, dtype=torch.int64), list(self.full.widths))

    def forward(
        self,
        token_ids: Tensor,
        embeddings: Tensor,
        positions: Tensor,
        cache: CachedRows | None = None,
        size: Running | None = None,
        last: int | None = None,
        row_of: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Run the layers.

        Args:
            token_ids: int64 [batch, seq]
            embeddings: [batch, seq, hidden], fused.
            positions: int64 [batch, seq], absolute, -1 for padding.
            cache: earlier tokens; the new ones are added to it.
            size: nested size to run at, from `running`; None is all that is loaded.
            last: how many of the last tokens' hidden states are wanted, None for all. KV-sharing
                layers produce nothing that later tokens need, so they run on those tokens only
                (exact; a third to two fifths of prefill).
            row_of: int64 [batch, seq], see `attention_masks`; positions begin anew in every row.
            rows: PLE rows of all layers that run, from `ple_rows`, where all tokens are wanted;
                None brings them.

        Returns:
            Hidden states [batch, last, hidden], normed, as `logits` reads them.

        Raises:
            ValueError: rows that share a sequence, and a cache.
        """
        if row_of is not None and cache is not None:
            raise ValueError(
                "row_of came with a cache, whose slots know no rows that share a sequence. "
                "Leave one of them out."
            )
        size = size or self.full
        steps = whole_sequence(positions) if cache is None else cache.begin(positions)
        masks = attention_masks(positions, steps, self.config.sliding_window, row_of)
        ropes = self._ropes(positions, embeddings.dtype)
        kv_of: dict[str, KV] = {}  # by layer type: K/V of the last layer with its own

        whole = last is None or last == positions.shape[1]  # then one gather serves all layers
        gathered = (*size.own, *size.shared) if whole else size.own
        inputs = self.per_layer_inputs(token_ids, embeddings, gathered, rows)
        streams = open_streams(embeddings, self.altup_projections)
        for n, i in enumerate(size.own):
            kind = self.config.layer_types[i]
            keep = partial(remember, cache, i, step=steps[kind])
            tokens = (ropes[kind], masks[kind], inputs[:, :, n])
            streams, kv_of[kind] = run(
                self.layer(i), self.recompute, streams, *tokens, size.widths[i], keep
            )

        tail = slice(None) if last is None else slice(positions.shape[1] - last, None)
        if last == 0:
            return embeddings[:, tail]
        streams = streams[:, :, tail]
        if size.shared:
            inputs = (
                inputs[:, :, len(size.own) :]
                if whole
                else self.per_layer_inputs(token_ids[:, tail], embeddings[:, tail], size.shared)
            )
            ropes = {kind: rope[:, :, tail] for kind, rope in ropes.items()}
            masks = {kind: mask[:, :, tail] for kind, mask in masks.items()}
        for n, i in enumerate(size.shared):
            kind = self.config.layer_types[i]
            tokens = (ropes[kind], masks[kind], inputs[:, :, n])
            earlier = partial(shared, kv_of[kind])
            streams, _ = run(
                self.layer(i), self.recompute, streams, *tokens, size.widths[i], earlier
            )
        return self.norm(close_streams(streams, self.altup_unembed_projections))

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states [..., hidden] -> logits [..., vocab], softly capped."""
        logits = self.embed_tokens.project(hidden)
        cap = self.config.final_logit_softcapping
        return logits if cap is None else _capped(logits, cap)

    def _ropes(self, positions: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        thetas = {FULL: self.config.rope_theta, SLIDING: self.config.rope_local_base_freq}
        return {
            kind: rope_table(positions, theta, self.config.head_dim, dtype)
            for kind, theta in thetas.items()
        }

    def _project_context(self, embeddings: Tensor, layers: Sequence[int]) -> Tensor:
        """[batch, seq, hidden] -> [batch, seq, layers * ple], the rows of kept layers only."""
        ple = self.config.hidden_size_per_layer_input
        runs = [
            self.per_layer_model_projection(embeddings, range(run.start * ple, run.stop * ple))
            for run in consecutive(layers)
        ]
        return runs[0] if len(runs) == 1 else torch.cat(runs, -1)
