"""What llama.cpp's gemma3n can be: a decoder that it would run wrongly, or not load, is refused.

It reads widths, heads, windows and RoPE from the file, and has the rest in its source as
Google's two sizes have it (seen in llama-cpp-python 0.3.36, and each tried).
"""

from collections.abc import Iterator

from gemma3n.config import FULL, SLIDING, TextConfig
from gemma3n.errors import SettingsError

STREAMS, ACTIVE, LAUREL_RANK, PLE = 4, 0, 64, 256
OWN_KV_LAYERS = 20  # later ones share: sliding layers K/V of layer 18, full ones of layer 19
SPARSE_LAYERS, SPARSITY = 10, 0.95
SOFTCAP = 30.0


def check_limits(text: TextConfig) -> None:
    """Refuse a decoder that llama.cpp does not run as it is.

    Args:
        text: of the nested size to export.

    Raises:
        SettingsError: with all reasons.
    """
    if reasons := list(_reasons(text)):
        raise SettingsError(
            f"llama.cpp cannot run this decoder: {'; '.join(reasons)}. Export a checkpoint or "
            "nested size of the shape of E2B or E4B, or use to=hf."
        )


def _reasons(text: TextConfig) -> Iterator[str]:
    fixed = {
        "altup_num_inputs": STREAMS,
        "altup_active_idx": ACTIVE,
        "laurel_rank": LAUREL_RANK,
        "hidden_size_per_layer_input": PLE,
        "final_logit_softcapping": SOFTCAP,
    }
    for name, value in fixed.items():
        if getattr(text, name) != value:
            yield f"{name}={getattr(text, name)}, and it knows {value}"
    layers = text.num_hidden_layers
    sparse = [SPARSITY if i < SPARSE_LAYERS else 0.0 for i in range(layers)]
    if text.activation_sparsity_pattern != sparse:
        yield (
            f"activation_sparsity_pattern={_runs(text.activation_sparsity_pattern)}, and it has "
            f"{SPARSITY} in the first {SPARSE_LAYERS} layers and none after"
        )
    if len(set(text.intermediate_size)) > 1:
        yield (f"FFN widths {_runs(text.intermediate_size)}, and it has one for all layers")
    if text.first_shared_layer != min(layers, OWN_KV_LAYERS):
        yield (
            f"layers share K/V from {text.first_shared_layer} on, and there from {OWN_KV_LAYERS} on"
        )
    elif wrong := [
        i for i in range(OWN_KV_LAYERS, layers) if text.kv_source(i) != _source(text, i)
    ]:
        yield (
            f"layer {wrong[0]} has the K/V of layer {text.kv_source(wrong[0])}, and there of layer "
            f"{_source(text, wrong[0])}"
        )
    if SLIDING not in text.layer_types:
        yield "no layer has a sliding window, and it wants at least one"


def _source(text: TextConfig, layer: int) -> int:
    return OWN_KV_LAYERS - (1 if text.layer_types[layer] == FULL else 2)


def _runs(values: list[float] | list[int]) -> str:
    """`0.8*2, 0*6`: neighbours that are equal, told once."""
    runs: list[list[float]] = []
    for value in values:
        if runs and runs[-1][0] == value:
            runs[-1][1] += 1
        else:
            runs.append([value, 1])
    return ", ".join(f"{value:g}*{times:g}" for value, times in runs)
