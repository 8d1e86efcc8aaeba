"""What int8 and int4 linear maps are, as numbers and in a checkpoint's files; no torch.

A checkpoint of `gemma3n quantize` has the released layout but for the text decoder's linear maps:

| map | `X.weight` | beside it |
| --- | --- | --- |
| int8 | I8 [rows, columns] | `X.weight_scale` F32 [rows, blocks] |
| int4 | U8 [rows, columns / 2] | `X.weight_scale`, `X.weight_zero` BF16 [rows, columns / 32] |

A scale of int8 holds for one row of one block of columns. A down projection is in as many blocks as
nested sizes end in it, so that small inside full is what small alone would be; other maps are one.
int4 is for maps whose columns divide into groups of 32, the others of such a checkpoint are int8,
and so is the output head, `lm_head.weight`; the embedding beside it stays as it was, for its rows.
`gemma3n/rounding.py` says what the numbers mean. `config.json` has, for `blocks`:

    "quantization_config": {"quant_method": "gemma3n-pipelines", "version": 1, "weights": "int8",
                            "ffn_ends": [[8192, 16384], ...]}        # one list a layer
"""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gemma3n.choices import ROUNDED, Precision
from gemma3n.config import Config
from gemma3n.errors import SettingsError

if TYPE_CHECKING:
    from gemma3n.checkpoint import Entry

GROUP = 32  # inputs that share a scale in int4
TOWER_LEAST = 512  # inputs and outputs of a tower's map: products with less gain nothing
KEY, METHOD, VERSION = "quantization_config", "gemma3n-pipelines", 1
SCALE, ZERO = "_scale", "_zero"  # what is added to the name of a weight
EMBEDDING = "text.embed_tokens.weight"
HEAD = "lm_head.weight"  # ours and as released
_INT8, _INT4 = "I8", "U8"
# LAuReL's and AltUp's maps stay as they are: `gemma3n.linear.Linear.rounds`.
_MAP = re.compile(
    r"text\..*(_proj|per_layer_input_gate|per_layer_(model_)?projection|"
    r"altup_(unembed_)?projections\.\d+)\.weight"
)


@dataclass(frozen=True)
class Rounded:
    """What a rounded checkpoint's config says of it."""

    weights: Precision  # int8 or int4
    ffn_ends: tuple[tuple[int, ...], ...]  # by layer, columns at which blocks end


def fits_int4(columns: int) -> bool:
    """Whether a weight of so many inputs can be int4."""
    return columns % GROUP == 0


def rounded(config: Config) -> Rounded | None:
    """What a checkpoint says of its rounding; None if it is not rounded.

    Raises:
        SettingsError: another program rounded it, or a later version of this one.
    """
    raw = config.raw.get(KEY)
    if raw is None:
        return None
    method = raw.get("quant_method") if isinstance(raw, dict) else raw
    if method != METHOD or raw.get("version") != VERSION:
        came = f"{method!r}" + (f" version {raw.get('version')}" if method == METHOD else "")
        raise SettingsError(
            f"this checkpoint's weights are quantized by {came}; accepted is {METHOD!r} version "
            f"{VERSION}. Use the checkpoint that it was made from, and `gemma3n quantize`."
        )
    try:
        weights = Precision[raw["weights"]]
        ends = tuple(tuple(int(end) for end in layer) for layer in raw["ffn_ends"])
    except (KeyError, TypeError, ValueError) as error:
        raise SettingsError(
            f"{KEY} of this checkpoint's config.json lacks weights or ffn_ends, or they make no "
            "sense. Make the checkpoint again with `gemma3n quantize`."
        ) from error
    if weights not in ROUNDED or len(ends) != config.text.num_hidden_layers:
        raise SettingsError(
            f"{KEY} of this checkpoint's config.json says weights={weights.value} and ffn_ends of "
            f"{len(ends)} layers; accepted are int8 and int4, and one for each of "
            f"{config.text.num_hidden_layers} layers. Make it again with `gemma3n quantize`."
        )
    return Rounded(weights, ends)


def refuse_rounded(config: Config, what: str) -> None:
    """Refuse a rounded checkpoint for what takes floating-point weights.

    Args:
        config: of the checkpoint.
        what: cannot be done with it, as in "sliced".

    Raises:
        SettingsError: it is rounded.
    """
    if (own := rounded(config)) is not None:
        raise SettingsError(
            f"this checkpoint's weights are {own.weights.value}, and cannot be {what}. Do that "
            "with the checkpoint that it was made from; quantize comes last."
        )


def is_map(name: str) -> bool:
    """Whether a tensor (ours) is a linear map of the decoder that is rounded."""
    return _MAP.fullmatch(name) is not None


def is_tower_map(shape: tuple[int, ...]) -> bool:
    """Whether a tower's weight of this shape is a map that int8 towers round.

    Args:
        shape: [outputs, inputs], or of a 1x1 conv [outputs, inputs, 1, 1].
    """
    is_matrix = len(shape) == 2 or shape[2:] == (1, 1)
    return is_matrix and min(shape[:2]) >= TOWER_LEAST


def description(precision: Precision, ends: list[list[int]]) -> dict[str, Any]:
    """The value of `quantization_config`."""
    method = {"quant_method": METHOD, "version": VERSION}
    return method | {"weights": precision.value, "ffn_ends": ends}


def is_scale(entry: "Entry") -> bool:
    """Whether a tensor only goes with a rounded weight."""
    return entry.name.endswith((f".weight{SCALE}", f".weight{ZERO}"))


def precision_of(entry: "Entry") -> Precision | None:
    """To what a weight in a file is rounded; None if it is not."""
    return {_INT8: Precision.int8, _INT4: Precision.int4}.get(entry.dtype)


def shape_of(entry: "Entry") -> tuple[int, ...]:
    """The shape of the weight that a tensor holds: int4 has two a byte."""
    if precision_of(entry) is Precision.int4:
        return (*entry.shape[:-1], entry.shape[-1] * 2)
    return entry.shape
