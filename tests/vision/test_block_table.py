import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from gemma3n.config import Config, VisionConfig
from gemma3n.errors import SettingsError
from gemma3n.vision.block_table import Block, round_width, stem_and_blocks

UIR = {"block_type": "uir", "dw_kernel_size_start": 3, "dw_kernel_size_mid": 0}
DECODED = {**UIR, "exp_ratio": 4.0, "out_chs": 16, "stride": 2}


def with_table(*stages: list[Any]) -> VisionConfig:
    return VisionConfig(model_args={"block_args": list(stages)})


def with_block(entry: Any) -> VisionConfig:
    return with_table(["er_k3_s2_e4_c16", entry], ["er_k3_s2_e4_c24"])


def test_a_table_in_strings_equals_the_decoded_one(checkpoint_folder: Path) -> None:
    config = Config.from_folder(checkpoint_folder).vision
    assert config is not None
    strings = json.loads((checkpoint_folder / "vision_arch.json").read_text())
    assert stem_and_blocks(config) == (16, stem_and_blocks(with_table(*strings))[1])


def test_reading_a_table_leaves_the_config_alone(checkpoint_folder: Path) -> None:
    config = Config.from_folder(checkpoint_folder).vision
    before = copy.deepcopy(config)
    assert config is not None
    stem_and_blocks(config)
    assert config == before


def test_the_default_is_the_300m_table() -> None:
    stem, stages = stem_and_blocks(VisionConfig())
    assert stem == 64
    assert [len(stage) for stage in stages] == [3, 5, 37, 39]
    assert [stage[-1].channels for stage in stages] == [128, 256, 640, 1280]
    attention = [[i for i, b in enumerate(stage) if b.kind == "mqa"] for stage in stages]
    assert attention == [[], [], list(range(9, 36, 2)), list(range(1, 38, 2))]
    assert stages[2][35] == Block("mqa", 640, 1, 1.0, 3, 0, 12, 64, 64, kv_stride=2)
    assert stages[3][37] == Block("mqa", 1280, 1, 1.0, 3, 0, 16, 96, 96)


def test_only_the_first_block_of_a_stage_strides() -> None:
    _, stages = stem_and_blocks(with_table(["er_r3_k3_s2_e4_c16"], ["er_r2_k3_s2_e4_c24"]))
    assert [[block.stride for block in stage] for stage in stages] == [[2, 1, 1], [2, 1]]


def test_one_key_dim_and_another_value_dim_are_read() -> None:
    mqa = {"block_type": "mqa", "dw_kernel_size": 3, "num_heads": 5, "key_dim": 7, "value_dim": 11}
    _, stages = stem_and_blocks(with_block({**mqa, "stride": 1, "out_chs": 24}))
    assert stages[0][1] == Block("mqa", 24, 1, 1.0, 3, 0, 5, 7, 11)


@pytest.mark.parametrize(
    ("width", "rounded"), [(1, 8), (8, 8), (11, 16), (12, 16), (36, 40), (83, 80), (84, 88)]
)
def test_a_width_is_rounded_to_a_multiple_of_8(width: int, rounded: int) -> None:
    assert round_width(width) == rounded  # 11: 8 would be more than a tenth below


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            VisionConfig(architecture="mobilenetv5_base"),
            "architecture='mobilenetv5_base'; only 'mobilenetv5_300m_enc' .* Load a Gemma 3n",
        ),
        (
            VisionConfig(model_args={"msfa_indices": [-3, -1]}),
            r"holds \['msfa_indices'\]; accepted are 'block_args' and 'stem_size'. .* remove",
        ),
        (with_table(["er_k3_s2_e4_c16"]), r"stages of \[1\] blocks; accepted are 2 to 4 stages"),
        (with_table(["er_k3_s2_e4_c16"], []), r"stages of \[1, 0\] blocks"),
        (with_table(*[["er_k3_s2_e4_c16"]] * 5), r"stages of \[1, 1, 1, 1, 1\] blocks"),
        (
            with_table(["er_k3_s2_e4_c16"], ["er_k3_s1_e4_c16"]),
            "stage 1 begins with .*stride=1.* must halve the map.* Correct the table",
        ),
        (
            with_table(["uir_a0_k0_s2_e4_c16"], ["er_k3_s2_e4_c16"]),
            "stage 0 begins with .*must halve the map",
        ),
        (
            with_table(["mqa_k3_h2_s2_d8_c16"], ["er_k3_s2_e4_c16"]),
            "stage 0 begins with .*must halve the map",
        ),
        (with_block("ir_k3_s1_e4_c16"), r"of kind 'ir'; accepted are \['er', 'mqa', 'uir'\]"),
        (with_block({"stride": 1}), "of kind None; accepted are"),
        (with_block("uir_a3_k0_s1_e4_c16_se0.25"), "not of the form 'uir_r1_a3_k5_s2_e6_c256'"),
        (with_block("uir__a3"), "not of the form"),
        (with_block("er_k3_s1_e4_c16_h2"), "has h=2.0, which this tower does not compute; a 'er'"),
        (with_block("uir_k3_s1_e4_c16"), r"lacks \['a'\]; a 'uir' block takes .* Add what"),
    ],
)
def test_a_config_that_is_not_built_here_is_refused(config: VisionConfig, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        stem_and_blocks(config)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("se_ratio", 0.25),
        ("dw_kernel_size_end", 3),
        ("act_layer", "relu"),
        ("noskip", True),
        ("force_in_chs", 8),
        ("pw_kernel_size", 3),
        ("group_size", 8),
    ],
)
def test_an_option_that_this_tower_does_not_compute_is_refused(name: str, value: Any) -> None:
    said = re.escape(f"has {name}={value!r}, which this tower does not compute")
    with pytest.raises(SettingsError, match=said):
        stem_and_blocks(with_block({**DECODED, name: value}))
