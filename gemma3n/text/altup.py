"""AltUp: predict all residual streams, compute one, correct the others. arXiv 2301.13310."""

import torch
from torch import Tensor, nn

from gemma3n.config import TextConfig
from gemma3n.layers import RMSNorm, rounded
from gemma3n.routes.single import product

_MEAN_SQUARE_FLOOR = 1e-5  # of a stream that is given the magnitude of stream 0


class AltUp(nn.Module):
    """Mixes the streams of one decoder layer; the layer itself runs on the active one only."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        streams, hidden = config.altup_num_inputs, config.hidden_size
        self.active = config.altup_active_idx
        self.router_scale = 1.0 / hidden
        self.prediction_coefs = nn.Linear(streams, streams * streams, bias=False)
        self.correction_coefs = nn.Linear(streams, streams, bias=False)
        self.modality_router = nn.Linear(hidden, streams, bias=False)
        self.router_norm = RMSNorm(hidden, config.rms_norm_eps)
        # Files hold the scale whether or not it is applied.
        self.correct_output_scale = nn.Parameter(torch.ones(hidden))
        self.applies_scale = config.altup_correct_scale

    def predict(self, streams: Tensor) -> Tensor:
        """Every stream after this layer, guessed from all of them before it.

        Args:
            streams: [streams, batch, seq, hidden]

        Returns:
            [streams, batch, seq, hidden]
        """
        count = len(streams)
        mix = product(self._route(streams[self.active]), self.prediction_coefs.weight)
        mix = mix.unflatten(-1, (count, count))  # [batch, seq, to, from]
        return streams + torch.einsum("bsji,ibsh->jbsh", mix, streams)

    def correct(self, predicted: Tensor, computed: Tensor) -> Tensor:
        """Move every predicted stream by what the active one turned out to be.

        Args:
            predicted: [streams, batch, seq, hidden]
            computed: [batch, seq, hidden], the layer's own result for the active stream.

        Returns:
            [streams, batch, seq, hidden]
        """
        mix = product(self._route(computed), self.correction_coefs.weight)
        weight = mix + 1.0  # [batch, seq, streams]
        innovation = computed - predicted[self.active]
        return predicted + innovation * weight.permute(2, 0, 1).unsqueeze(-1)

    def scaled(self, active: Tensor) -> Tensor:
        """[batch, seq, hidden] as the per-layer input gate reads it; the stream stays unscaled."""
        return active * self.correct_output_scale if self.applies_scale else active

    def _route(self, x: Tensor) -> Tensor:
        """How much each stream matters to each token: [batch, seq, hidden] -> [..., streams]."""
        scaled = self.router_norm(x) * rounded(self.router_scale, x.dtype)
        return torch.tanh(product(scaled, self.modality_router.weight).float()).to(x.dtype)


def open_streams(embeddings: Tensor, projections: nn.ModuleList) -> Tensor:
    """Fused embeddings [batch, seq, hidden] -> streams [streams, batch, seq, hidden].

    Stream 0 is the embedding itself; each other one is a projection of it, at its magnitude.
    """
    magnitude = _magnitude(embeddings)
    others = [_with_magnitude(project(embeddings), magnitude) for project in projections]
    return torch.stack([embeddings, *others])


def close_streams(streams: Tensor, projections: nn.ModuleList) -> Tensor:
    """Streams [streams, batch, seq, hidden] -> their mean [batch, seq, hidden], projected back."""
    magnitude = _magnitude(streams[0])
    others = [
        _with_magnitude(project(stream), magnitude)
        for project, stream in zip(projections, streams[1:], strict=True)
    ]
    return torch.stack([streams[0], *others]).mean(0)


def _magnitude(x: Tensor) -> Tensor:
    return x.pow(2).mean(-1, keepdim=True).sqrt()


def _with_magnitude(x: Tensor, magnitude: Tensor) -> Tensor:
    # The floor is on the new vector's mean square only, and the product comes before the division.
    return x * magnitude / x.pow(2).mean(-1, keepdim=True).clamp_min(_MEAN_SQUARE_FLOOR).sqrt()
