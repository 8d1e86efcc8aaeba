"""A narrow vision tower -> the same one as wide as timm builds it, with zeros in the new channels.

timm's MobileNet-V5 encoder always gives 2048 channels, so a tower that gives fewer (nano's) has to
be widened before transformers can load it. RMS norms see the zeros in their mean square. What they
read is therefore scaled up by sqrt(2048 / width), and their gains down: the mean squares, the
epsilons beside them and all results are what they were.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gemma3n.errors import SettingsError
from gemma3n.save import Output

_TIMM_WIDTH = 2048
_FUSION = "vision.msfa."
_EMBEDDER = "embed_vision."


def widened(outputs: dict[str, Output], config: dict[str, Any]) -> dict[str, Output]:
    """The tensors to write, those around the tower's last width widened where they have to be.

    Args:
        outputs: by our names.
        config: `config.json`; its `vision_config` is changed to say the new width.

    Raises:
        SettingsError: the tower is wider than timm's.
    """
    vision = config.get("vision_config")
    if vision is None or vision["hidden_size"] == _TIMM_WIDTH:
        return outputs
    width = vision["hidden_size"]
    if width > _TIMM_WIDTH:
        raise SettingsError(
            f"the vision tower gives {width} channels, but timm, with which transformers builds "
            f"it, gives {_TIMM_WIDTH}. Use a checkpoint with fewer, or load it with gemma3n."
        )
    vision["hidden_size"] = _TIMM_WIDTH
    scale = math.sqrt(_TIMM_WIDTH / width)
    more = _TIMM_WIDTH - width

    def rows(by: float) -> Callable[[Tensor], Tensor]:
        return lambda x: F.pad(x * by, (0, 0) * (x.ndim - 1) + (0, more))

    def columns(by: float) -> Callable[[Tensor], Tensor]:
        return lambda x: F.pad(x * by, (0, more))

    changes = {
        f"{_FUSION}ffn.pw_proj.conv.weight": rows(scale),
        f"{_FUSION}ffn.pw_proj.bn.weight": rows(1.0),
        f"{_FUSION}norm.weight": rows(1 / scale),
        # Soft tokens: the model multiplies features by sqrt(width), which grows just as much.
        f"{_EMBEDDER}soft_embedding_norm.weight": rows(1 / scale),
        f"{_EMBEDDER}embedding.weight": columns(scale),
        f"{_EMBEDDER}hard_embedding_norm.weight": rows(1 / scale),
        f"{_EMBEDDER}embedding_projection.weight": columns(1.0),
    }
    return outputs | {name: _changed(outputs[name], change) for name, change in changes.items()}


def _changed(output: Output, change: Callable[[Tensor], Tensor]) -> Output:
    """A tensor changed as a whole, in float32: the scales are no powers of two."""
    with torch.device("meta"):
        shape = tuple(change(torch.empty(output.shape)).shape)

    def pieces() -> Iterator[Tensor]:
        yield change(torch.cat(list(output.pieces)).float())

    return replace(output, dtype="F32", shape=shape, pieces=pieces())
