"""LAuReL: a learned low-rank residual. arXiv 2411.07501 (the low-rank variant)."""

from torch import Tensor, nn

from gemma3n.config import TextConfig
from gemma3n.layers import RMSNorm


class Laurel(nn.Module):
    """Adds a low-rank map of the input to the input itself."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.linear_left = nn.Linear(config.hidden_size, config.laurel_rank, bias=False)
        self.linear_right = nn.Linear(config.laurel_rank, config.hidden_size, bias=False)
        self.post_laurel_norm = RMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, seq, hidden] of the *normed* layer input; same shape out."""
        return x + self.post_laurel_norm(self.linear_right(self.linear_left(x)))
