"""A decoder that llama.cpp would run wrongly is refused, with every reason."""

from dataclasses import replace
from typing import Any

import pytest

from gemma3n.config import FULL, SLIDING, Config, TextConfig
from gemma3n.errors import SettingsError
from gemma3n.matformer import named_sizes, resolve_size
from gemma3n.named import checkpoint_folder
from pipelines.export.gguf_limits import check_limits

E4B = TextConfig()
E2B = TextConfig(num_hidden_layers=30, num_kv_shared_layers=10, intermediate_size=[8192] * 30)


def test_googles_sizes_and_decoders_without_shared_layers_are_accepted() -> None:
    check_limits(E4B)
    check_limits(E2B)
    check_limits(resolve_size("small", Config()).sliced(E4B))
    check_limits(TextConfig(num_hidden_layers=15, num_kv_shared_layers=0))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"altup_num_inputs": 2}, "altup_num_inputs=2, and it knows 4"),
        ({"altup_active_idx": 1}, "altup_active_idx=1, and it knows 0"),
        ({"laurel_rank": 16}, "laurel_rank=16, and it knows 64"),
        ({"hidden_size_per_layer_input": 16}, "hidden_size_per_layer_input=16, and it knows 256"),
        ({"final_logit_softcapping": None}, "final_logit_softcapping=None, and it knows 30"),
        (
            {"activation_sparsity_pattern": [0.8] * 2 + [0.0] * 33},
            r"activation_sparsity_pattern=0.8\*2, 0\*33, and it has 0.95 in the first 10 layers",
        ),
        ({"num_kv_shared_layers": 10}, "layers share K/V from 25 on, and there from 20 on"),
        (
            {
                "layer_types": [FULL, *[SLIDING] * 18, FULL, *[SLIDING] * 15][:18]
                + [FULL, SLIDING] * 8
                + [SLIDING]
            },
            "layer 20 has the K/V of layer 18, and there of layer 19",
        ),
    ],
)
def test_what_llama_cpp_has_in_its_source_is_not_negotiable(
    change: dict[str, Any], why: str
) -> None:
    with pytest.raises(SettingsError, match=why):
        check_limits(replace(E4B, **change))


def test_mixed_widths_are_refused() -> None:
    size = named_sizes(Config())["e2.98b-layer"]
    with pytest.raises(SettingsError, match=r"FFN widths 8192\*15, 16384\*10, .*one for all"):
        check_limits(size.sliced(E4B))


def test_nano_is_refused_with_every_reason() -> None:
    config = Config.from_folder(checkpoint_folder("nano"))
    with pytest.raises(SettingsError) as refused:
        check_limits(config.text)
    for reason in ("altup_num_inputs=2", "laurel_rank=16", "_per_layer_input=16", "0.8*2, 0*6"):
        assert reason in str(refused.value)
    assert str(refused.value).endswith("of the shape of E2B or E4B, or use to=hf.")
