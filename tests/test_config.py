import json
from pathlib import Path
from typing import Any

import pytest

from gemma3n.config import FULL, SLIDING, Config, TextConfig
from gemma3n.errors import SettingsError


def text(**raw: Any) -> TextConfig:
    return Config.from_dict({"model_type": "gemma3n_text", **raw}).text


def test_an_empty_config_is_e4b() -> None:
    config = Config.from_dict({"model_type": "gemma3n", "vision_config": {}, "audio_config": {}})
    assert config.text.num_hidden_layers == 35
    assert config.text.intermediate_size == [16_384] * 35
    full = [i for i, kind in enumerate(config.text.layer_types) if kind == FULL]
    assert full == [4, 9, 14, 19, 24, 29, 34]
    assert config.text.activation_sparsity_pattern == [0.95] * 10 + [0.0] * 25
    assert (config.image_token_id, config.audio_token_id) == (262_145, 262_273)


def test_kv_sharing_layers_read_the_last_unshared_layer_of_their_type() -> None:
    config = TextConfig()
    assert {config.kv_source(i) for i in range(20, 35)} == {18, 19}
    assert config.kv_source(24) == 19
    assert config.kv_source(7) == 7


def test_the_sparse_prefix_needs_more_than_ten_layers() -> None:
    assert set(text(num_hidden_layers=10, num_kv_shared_layers=0).activation_sparsity_pattern) == {
        0.0
    }


def test_old_and_new_spelling_of_rope_agree() -> None:
    old = text(rope_theta=5e5, rope_local_base_freq=2e4, rope_scaling=None)
    new = text(
        rope_parameters={
            FULL: {"rope_theta": 5e5, "rope_type": "default"},
            SLIDING: {"rope_theta": 2e4, "rope_type": "default"},
        }
    )
    assert old == new
    assert (old.rope_theta, old.rope_local_base_freq) == (5e5, 2e4)


def test_a_single_ffn_width_counts_for_every_layer() -> None:
    config = text(num_hidden_layers=30, intermediate_size=8192, num_kv_shared_layers=10)
    assert config.intermediate_size == [8192] * 30


def test_no_softcap_is_not_the_default_softcap() -> None:
    assert text(final_logit_softcapping=None).final_logit_softcapping is None
    assert text().final_logit_softcapping == 30.0


def test_a_text_only_config_has_no_towers() -> None:
    config = Config.from_dict({"model_type": "gemma3n_text"})
    assert config.vision is None
    assert config.audio is None


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"num_hidden_layers": 0}, "num_hidden_layers=0; a decoder needs at least 1 layer"),
        ({"layer_types": [FULL]}, "layer_types has 1 entries for 35 layers"),
        ({"layer_types": ["global"] * 35}, r"layer_types holds \['global'\]"),
        ({"num_kv_shared_layers": 35}, "of 35 layers 0 to 34 may share"),
        ({"num_kv_shared_layers": 32}, "types .* which no earlier layer has"),
        ({"hidden_activation": "silu"}, "only 'gelu_pytorch_tanh'"),
        (
            {"attention_bias": True},
            "attention_bias=True; accepted is false, .* no such biases. This is another",
        ),
        ({"num_hidden_layers": "x"}, "num_hidden_layers='x'; it must be of type int. Correct"),
        ({"num_hidden_layers": [3], "intermediate_size": 5}, "layers=.3.; it must be of type int"),
        ({"hidden_size": True}, "hidden_size=True; it must be of type int"),
        ({"hidden_size": 64.5}, "hidden_size=64.5; it must be of type int"),
        ({"rms_norm_eps": [1e-6]}, r"rms_norm_eps=\[1e-06\]; it must be of type float"),
        ({"intermediate_size": ["a"] * 35}, r"it must be of type list\[int\]"),
        ({"layer_types": [1] * 35}, r"it must be of type list\[str\]"),
        ({"eos_token_id": []}, r"eos_token_id=\[\]; it must be of type int"),
        ({"final_logit_softcapping": "no"}, r"it must be of type float \| None"),
        ({"rope_parameters": [1]}, r"rope_parameters=\[1\]; it must be an object"),
        ({"rope_parameters": {FULL: {"rope_theta": "x"}}}, "rope_theta='x'; it must be of type fl"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope_type='yarn'"),
    ],
)
def test_what_the_decoder_cannot_be_is_refused(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        text(**raw)


def test_another_models_config_is_refused() -> None:
    with pytest.raises(SettingsError, match="model_type is 'llama'"):
        Config.from_dict({"model_type": "llama"})


def test_a_folder_that_is_no_checkpoint_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="does not exist"):
        Config.from_folder(tmp_path / "absent")
    (tmp_path / "a.wav").touch()
    with pytest.raises(SettingsError, match=r"a.wav' is a file, not a folder. Give the folder of"):
        Config.from_folder(tmp_path / "a.wav")
    with pytest.raises(SettingsError, match=r"has no config.json"):
        Config.from_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(SettingsError, match="is not JSON"):
        Config.from_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(SettingsError, match="holds a list"):
        Config.from_folder(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "gemma3n_text", "head_dim": "x"}')
    with pytest.raises(SettingsError, match=r"config.json': head_dim='x'; it must be of type int"):
        Config.from_folder(tmp_path)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        ({"text_config": [1]}, r"text_config=\[1\]; it must be an object"),
        ({"audio_config": "x"}, "audio_config='x'; it must be an object"),
        ({"audio_config": {"sscp_conv_stride_size": [2, 2]}}, r"of type list\[list\[int\]\]"),
        ({"vision_config": {"model_args": []}}, r"model_args=\[\]; it must be of type dict"),
        ({"image_token_id": "x"}, "image_token_id='x'; it must be of type int"),
    ],
)
def test_a_value_of_another_type_is_named(raw: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Config.from_dict({"model_type": "gemma3n", **raw})
