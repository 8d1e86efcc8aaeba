"""Products with packed weights as operators of torch's own registry.

A packed weight has a layout that only oneDNN can read, so that `torch.compile` cannot look into a
product with it. As an operator, of which it knows no more than the result's shape, it can stay in
a compiled graph and take the weight as an input.

Without AMX oneDNN reads the weight faster for four rows than for one. Measured with two threads on
AVX512-BF16 and VNNI, 2048 -> 8192 from memory, GB/s: bfloat16 24.6 for 1 row, 22.6 for 2, 28.8 for
3, 30.9 for 4 and 23.7 for 8; int8 21.3, 19.1, 23.7, 24.8 and 19.8. So fewer rows get company.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

# torch has no public question for AMX; without the answer rows stay as they come.
FEW = 1 if getattr(torch.cpu, "_is_amx_tile_supported", lambda: True)() else 4  # rows
_LIBRARY = torch.library.Library("gemma3n", "DEF")


def packed_product(x: Tensor, weight: Tensor, rows: int) -> Tensor:
    """Product with a packed floating-point weight.

    Args:
        x: [tokens, columns], of the weight's dtype; see `in_company`.
        weight: from `mkldnn._reorder_linear_weight`.
        rows: of the weight.

    Returns:
        [tokens, rows]
    """
    if torch.compiler.is_compiling():
        return torch.ops.gemma3n.packed_product(x, weight, rows)
    return _packed_product(x, weight, rows)


def int8_product(tokens: Tensor, weight: Tensor, scale: Tensor, zero: int) -> Tensor:
    """Product of bytes with a packed int8 weight.

    Args:
        tokens: uint8 [tokens, columns]; see `in_company`.
        weight: from `onednn.qlinear_prepack`.
        scale: float32 [rows], of the weight.
        zero: the byte that stands for 0.

    Returns:
        float32 [tokens, rows]
    """
    if torch.compiler.is_compiling():
        return torch.ops.gemma3n.int8_product(tokens, weight, scale, zero)
    return _int8_product(tokens, weight, scale, zero)


def in_company(tokens: Tensor) -> Tensor:
    """Tokens [n, columns], and others after them if so few are slower; what they give is dropped.

    Of several that are too few the operators see to themselves: how many there are is nothing that
    a graph should depend on.
    """
    return tokens.expand(FEW, -1) if tokens.shape[0] == 1 else tokens


def _packed_product(x: Tensor, weight: Tensor, rows: int) -> Tensor:
    tokens = _padded(x)
    found = torch.ops.mkldnn._linear_pointwise(tokens, weight, None, "none", [], "")
    return found[: len(x)] if len(x) < len(tokens) else found


def _int8_product(tokens: Tensor, weight: Tensor, scale: Tensor, zero: int) -> Tensor:
    padded = _padded(tokens)
    found = torch.ops.onednn.qlinear_pointwise(
        *(padded, 1.0, zero, weight, scale, _NO_ZEROS, None),
        *(1.0, 0, torch.float32, "none", [], ""),
    )
    return found[: len(tokens)] if len(tokens) < len(padded) else found


def _padded(tokens: Tensor) -> Tensor:
    missing = FEW - len(tokens)
    return F.pad(tokens, (0, 0, 0, missing)) if 0 < missing < FEW - 1 else tokens


def _packed_shape(x: Tensor, weight: Tensor, rows: int) -> Tensor:
    return x.new_empty((x.shape[0], rows))


def _int8_shape(tokens: Tensor, weight: Tensor, scale: Tensor, zero: int) -> Tensor:
    return tokens.new_empty((tokens.shape[0], scale.shape[0]), dtype=torch.float32)


_NO_ZEROS = torch.zeros(0, dtype=torch.int32)

for _schema, _product, _shape in (
    ("packed_product(Tensor x, Tensor weight, int rows) -> Tensor", _packed_product, _packed_shape),
    (
        "int8_product(Tensor tokens, Tensor weight, Tensor scale, int zero) -> Tensor",
        _int8_product,
        _int8_shape,
    ),
):
    _name = _LIBRARY.define(_schema)
    for _key in ("CPU", "MkldnnCPU"):
        _LIBRARY.impl(_name, _product, _key)
    torch.library.register_fake(f"gemma3n::{_name}", _shape)
