"""Vision config -> block table of the vision tower: a list of blocks a stage.

MobileNet-V5 (MobileNet-V4, arXiv 2404.10518, with attention and RMS norms). A table is written in
timm's strings, such as `uir_r7_a5_k0_s1_e4_c640`, or comes from a checkpoint in timm's decoded
form, a dict a block. Both say the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from gemma3n.config import VisionConfig
from gemma3n.errors import SettingsError

ARCHITECTURE = "mobilenetv5_300m_enc"
STEM = 64  # channels of the 300M tower's stem
# r: repeats. k: kernel, a: start kernel, s: stride, e: expansion, c: channels, h: heads,
# d: head dim, v: key/value stride (see `Block`).
TABLE_300M = [
    ["er_r1_k3_s2_e4_c128", "er_r2_k3_s1_e4_c128"],
    [
        "uir_r1_a3_k5_s2_e6_c256",
        *["uir_r1_a5_k0_s1_e4_c256", "uir_r1_a3_k0_s1_e4_c256"] * 2,
    ],
    [
        "uir_r1_a5_k5_s2_e6_c640",
        "uir_r7_a5_k0_s1_e4_c640",
        "uir_r1_a0_k0_s1_e1_c640",
        *["mqa_r1_k3_h12_v2_s1_d64_c640", "uir_r1_a0_k0_s1_e2_c640"] * 14,
    ],
    [
        "uir_r1_a5_k5_s2_e6_c1280",
        *["mqa_r1_k3_h16_s1_d96_c1280", "uir_r1_a0_k0_s1_e2_c1280"] * 19,
    ],
]


@dataclass(frozen=True)
class Block:
    """One block; what a kind has no use for stays at its default."""

    kind: str  # "er": edge residual, "uir": inverted residual, "mqa": multi-query attention
    channels: int  # out; from a table, a multiple of 8
    stride: int
    expansion: float = 1.0  # expanded width / channels in
    # er: the expanding conv; uir: the depthwise conv on the expanded width, 0 is none;
    # mqa: the depthwise conv that thins keys and values
    kernel: int = 0
    start_kernel: int = 0  # uir: the depthwise conv before the expansion, 0 is none
    heads: int = 0
    key_dim: int = 0  # of a head
    value_dim: int = 0
    kv_stride: int = 1  # mqa: keys and values are taken from a map thinned by this


# For each kind: field of `Block`, key of the decoded form, letter of the string form.
_OPTIONS = {
    "er": [
        ("channels", "out_chs", "c"),
        ("stride", "stride", "s"),
        ("expansion", "exp_ratio", "e"),
        ("kernel", "exp_kernel_size", "k"),
    ],
    "uir": [
        ("channels", "out_chs", "c"),
        ("stride", "stride", "s"),
        ("expansion", "exp_ratio", "e"),
        ("kernel", "dw_kernel_size_mid", "k"),
        ("start_kernel", "dw_kernel_size_start", "a"),
    ],
    "mqa": [
        ("channels", "out_chs", "c"),
        ("stride", "stride", "s"),
        ("kernel", "dw_kernel_size", "k"),
        ("heads", "num_heads", "h"),
        ("key_dim", "key_dim", "d"),
        ("value_dim", "value_dim", "d"),
        ("kv_stride", "kv_stride", "v"),
    ],
}
_OPTIONAL = {"kv_stride"}  # absent is the default of `Block`
# Which of `_UNUSED` the decoded form of a kind names.
_ALSO_NAMED = {
    "er": ("act_layer", "force_in_chs", "noskip", "pw_kernel_size", "se_ratio"),
    "uir": ("act_layer", "dw_kernel_size_end", "noskip", "se_ratio"),
    "mqa": ("act_layer", "noskip"),
}
# What timm can also do. The decoded form always names these; no Gemma 3n tower uses them.
_UNUSED = {
    "act_layer": None,
    "dw_kernel_size_end": 0,
    "force_in_chs": 0,
    "noskip": False,
    "pw_kernel_size": 1,
    "se_ratio": 0,
}


def stem_and_blocks(config: VisionConfig) -> tuple[int, list[list[Block]]]:
    """Read the tower's shape from its config, which is left as it is.

    Returns:
        channels of the stem, and one list of blocks a stage.

    Raises:
        SettingsError: another architecture, or a table with something this tower has not.
    """
    if config.architecture != ARCHITECTURE:
        raise SettingsError(
            f"vision architecture={config.architecture!r}; only '{ARCHITECTURE}' is built here. "
            "Load a Gemma 3n checkpoint, or leave vision out of `parts`."
        )
    args = {"block_args": TABLE_300M, "stem_size": STEM, **(config.model_args or {})}
    if unknown := sorted(args.keys() - {"block_args", "stem_size"}):
        raise SettingsError(
            f"vision model_args holds {unknown}; accepted are 'block_args' and 'stem_size'. "
            "Load a Gemma 3n checkpoint, or remove the others."
        )
    stages = [[block for entry in stage for block in _read(entry)] for stage in args["block_args"]]
    # The whole tower strides by 32: by 2 in the stem and in each of four stages. Fusion needs two.
    if not 2 <= len(stages) <= 4 or not all(stages):
        raise SettingsError(
            f"block_args has stages of {[len(stage) for stage in stages]} blocks; "
            "accepted are 2 to 4 stages of at least 1 block. Correct the table."
        )
    for index, stage in enumerate(stages):
        _check_first(stage[0], index)
    # Repeats carry the stride of the block they repeat; only a stage's first block takes it.
    return round_width(args["stem_size"]), [
        [stage[0], *(replace(block, stride=1) for block in stage[1:])] for stage in stages
    ]


def decoded_table(config: VisionConfig) -> dict[str, Any]:
    """The tower's shape as timm takes it: `model_args` with the table in its decoded form.

    Raises:
        SettingsError: as `stem_and_blocks` does.
    """
    stem, stages = stem_and_blocks(config)
    table = [
        [
            {
                "block_type": block.kind,
                **{key: getattr(block, field) for field, key, _ in _OPTIONS[block.kind]},
                **{key: _UNUSED[key] for key in _ALSO_NAMED[block.kind]},
            }
            for block in stage
        ]
        for stage in stages
    ]
    return {"block_args": table, "stem_size": stem}


def round_width(width: float) -> int:
    """The multiple of 8 that the family uses for `width`: the nearest, at most a tenth below."""
    nearest = max(8, int(width + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * width else nearest + 8


def _check_first(block: Block, stage: int) -> None:
    strides = block.kind == "er" or (block.kind == "uir" and (block.kernel or block.start_kernel))
    if block.stride != 2 or not strides:
        raise SettingsError(
            f"stage {stage} begins with {block}; it must halve the map: an 'er', or a 'uir' with "
            "a depthwise conv, of stride 2. Correct the table."
        )


def _read(entry: str | Mapping[str, Any]) -> list[Block]:
    """One entry of a stage, in either form; a string may stand for several equal blocks."""
    if not isinstance(entry, str):
        return [_block(entry.get("block_type"), entry, column=1, origin=str(dict(entry)))]
    kind, *parts = entry.split("_")
    try:
        options = {part[0]: float(part[1:]) for part in parts}
    except (IndexError, ValueError) as error:
        raise SettingsError(
            f"block '{entry}' is not of the form 'uir_r1_a3_k5_s2_e6_c256': a kind, then letters "
            "with their numbers. Correct the table."
        ) from error
    repeats = int(options.pop("r", 1))
    return [_block(kind, options, column=2, origin=entry)] * repeats


def _block(kind: Any, options: Mapping[str, Any], column: int, origin: str) -> Block:
    """Build from options that are named as in `column` of `_OPTIONS`."""
    if kind not in _OPTIONS:
        raise SettingsError(
            f"block '{origin}' is of kind {kind!r}; accepted are {sorted(_OPTIONS)}. "
            "Correct the table."
        )
    names: dict[str, str] = {row[0]: row[column] for row in _OPTIONS[kind]}
    for name in sorted(options.keys() - names.values() - {"block_type"}):
        if name not in _UNUSED or options[name] != _UNUSED[name]:
            raise SettingsError(
                f"block '{origin}' has {name}={options[name]!r}, which this tower does not "
                f"compute; a '{kind}' block takes {sorted({*names.values()})}. Correct the table."
            )
    needed = {name for field, name in names.items() if field not in _OPTIONAL}
    if lacking := needed - options.keys():
        raise SettingsError(
            f"block '{origin}' lacks {sorted(lacking)}; a '{kind}' block takes "
            f"{sorted({*names.values()})}. Add what is missing to the table."
        )
    values = {field: options[name] for field, name in names.items() if name in options}
    whole = {field: int(value) for field, value in values.items() if field != "expansion"}
    whole["channels"] = round_width(whole["channels"])
    return Block(kind=kind, **{**values, **whole})
