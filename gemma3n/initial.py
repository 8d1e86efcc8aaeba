"""A new model's first weights, by fan-in: every linear map keeps the size of what goes through it.

The published constant 0.02 suits widths of thousands; small post-normed blocks barely learn then.
"""

import torch
from torch import nn

from gemma3n.layers import RMSNorm
from gemma3n.text.altup import AltUp
from gemma3n.text.attention import Attention
from gemma3n.vision.layers import Conv, LayerScale, Pointwise

_MIXING = 0.01  # AltUp's coefficients: streams begin all but independent
_LAYER_SCALE = 0.3  # the published 1e-5 needs more steps than a small training has
_GREY = 0.5  # the middle of a pixel's range


@torch.no_grad()
def initialise(module: nn.Module, seed: int) -> None:
    """Draw all parameters of a module anew, the same for the same seed.

    Args:
        module: any of ours; norms get a gain of 1.
        seed: of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    for part in module.modules():
        for name, parameter in part.named_parameters(recurse=False):
            if name == "bias":
                parameter.zero_()
            elif parameter.dim() > 1:
                # A row of a table is one vector of the stream; of other weights, one output's map.
                fan_in = parameter[0].numel()
                parameter.normal_(0.0, fan_in**-0.5, generator=generator)
        if isinstance(part, RMSNorm) and part.weight is not None:
            part.weight.fill_(1.0)
    for part in module.modules():  # anew: a module comes before those in it
        if isinstance(part, Conv) and part.bias is not None:  # the stem, which reads pixels
            part.bias.copy_(-_GREY * part.weight.sum((1, 2, 3)))
        elif isinstance(part, Pointwise) or (isinstance(part, Conv) and part.groups == 1):
            # RMS norms keep the mean that GELUs leave, so that what tells images apart would drown
            # in what they share; a map that ignores the mean learns from the first steps.
            part.weight.sub_(part.weight.mean(dim=(1, 2, 3), keepdim=True))
        if isinstance(part, Attention) and part.q_norm.weight is not None:
            # Its scores are not scaled; normed queries and keys alone would choose at random.
            part.q_norm.weight.fill_(part.dim**-0.5)
        if isinstance(part, LayerScale):
            part.gamma.fill_(_LAYER_SCALE)
        if isinstance(part, AltUp):
            for mixing in (part.prediction_coefs, part.correction_coefs):
                mixing.weight.normal_(0.0, _MIXING, generator=generator)
