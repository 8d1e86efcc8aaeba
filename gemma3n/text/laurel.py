"""LAuReL: a learned low-rank residual. arXiv 2411.07501 (the low-rank variant)."""

from torch import Tensor, nn

from gemma3n.config import TextConfig
from gemma3n.layers import RMSNorm
from gemma3n.linear import Linear


class Laurel(nn.Module):
    """Adds a low-rank map of the input to the input itself."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        # Less than a hundredth of the weights: what rounding them saved is not worth its error.
        self.linear_left = Linear(config.hidden_size, config.laurel_rank, rounds=False)
        self.linear_right = Linear(config.laurel_rank, config.hidden_size, rounds=False)
        self.post_laurel_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, seq, hidden] of the *normed* layer input; same shape out."""
        return x + self.post_laurel_norm(self.linear_right(self.linear_left(x)))
