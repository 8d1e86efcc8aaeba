"""What the nano model is: Gemma 3n with every mechanism on, at a few megabytes."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipelines.nano.vocabulary import learn_vocabulary

PIECES = 640  # of the vocabulary; ids past them are media
_MEDIA_IDS = 16  # hard rows of each medium
_LAYERS, _SHARED, _PERIOD = 8, 4, 4
_SMALL_SKIPS = [4, 5]  # neither is a KV source (those are layers 2 and 3)
_WIDTH, _SMALL_WIDTH = 512, 256
_SIZES = {
    "small": {"skip": _SMALL_SKIPS, "widths": _SMALL_WIDTH},
    # Three of the many between, evenly spaced in FFN units: 1536 are small's, 4096 the full one's.
    "mix1": {"skip": _SMALL_SKIPS, "widths": [512, 512, 256, 256, 256, 256]},
    "mix2": {"skip": [5], "widths": [512, 512, 512, 512, 256, 256, 256]},
    "mix3": {"skip": [], "widths": [512, 512, 512, 512, 512, 256, 256, 256]},
}
_SIDE = 256  # pixels
# 12.8 s: what its world says takes less, and every prompt holds this many places.
_AUDIO_TOKENS = 80

# In timm's spelling, see `gemma3n/vision/block_table.py`.
_VISION_BLOCKS = [
    ["er_r1_k3_s2_e3_c24"],
    ["uir_r1_a3_k5_s2_e4_c48", "uir_r1_a5_k0_s1_e3_c48"],
    [
        "uir_r1_a5_k5_s2_e4_c96",
        "uir_r1_a5_k0_s1_e3_c96",
        "mqa_r1_k3_h4_v2_s1_d24_c96",
        "uir_r1_a0_k0_s1_e2_c96",
    ],
    [
        "uir_r1_a5_k5_s2_e4_c128",
        "mqa_r1_k3_h4_s1_d32_c128",
        "uir_r1_a0_k0_s1_e2_c128",
    ],
]


def nano_config() -> dict[str, Any]:
    """`config.json` of the nano checkpoint."""
    vision, audio = PIECES, PIECES + _MEDIA_IDS
    kinds = ["sliding_attention"] * (_PERIOD - 1) + ["full_attention"]
    return {
        "model_type": "gemma3n",
        "architectures": ["Gemma3nForConditionalGeneration"],
        "dtype": "bfloat16",
        "languages": ["en"],
        "tie_word_embeddings": True,
        "boi_token_id": PIECES - 2,
        "boa_token_id": PIECES - 1,
        "eoi_token_id": vision,
        "image_token_id": vision + 1,
        "eoa_token_id": audio,
        "audio_token_id": audio + 1,
        "vision_soft_tokens_per_image": 256,
        "audio_soft_tokens_per_image": _AUDIO_TOKENS,
        "nested_sizes": _SIZES,
        "text_config": {
            "model_type": "gemma3n_text",
            "vocab_size": PIECES + 2 * _MEDIA_IDS,
            "vocab_size_per_layer_input": PIECES,
            "hidden_size": 128,
            "hidden_size_per_layer_input": 16,
            "num_hidden_layers": _LAYERS,
            "num_kv_shared_layers": _SHARED,
            "layer_types": kinds * (_LAYERS // _PERIOD),
            "intermediate_size": [_WIDTH] * _LAYERS,
            "activation_sparsity_pattern": [0.8, 0.8] + [0.0] * (_LAYERS - 2),
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "head_dim": 32,
            "sliding_window": 128,  # more than a clip has places: most layers hear all of it
            "laurel_rank": 16,
            "altup_num_inputs": 2,  # more streams cost elementwise work, most of a small step
            "max_position_embeddings": 2048,
        },
        "vision_config": {
            "model_type": "gemma3n_vision",
            "architecture": "mobilenetv5_300m_enc",
            "hidden_size": 192,
            "vocab_size": _MEDIA_IDS,
            "vocab_offset": vision,
            "model_args": {"stem_size": 16, "block_args": _VISION_BLOCKS},
        },
        "audio_config": {
            "model_type": "gemma3n_audio",
            "hidden_size": 144,
            "vocab_size": _MEDIA_IDS,
            "vocab_offset": audio,
            "conf_num_hidden_layers": 6,
            "conf_num_attention_heads": 4,
            "conf_attention_context_right": 4,
            "sscp_conv_channel_size": [32, 16],
        },
    }


def write_init(folder: Path, sentences: Iterable[str]) -> None:
    """Write all of a checkpoint but its weights: config, preprocessing, vocabulary.

    Args:
        folder: is made if need be.
        sentences: to learn the vocabulary from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    size = {"size": {"height": _SIDE, "width": _SIDE}}
    for name, content in (("config", nano_config()), ("preprocessor_config", size)):
        text = json.dumps(content, indent=1) + "\n"
        (folder / f"{name}.json").write_text(text, encoding="utf-8")
    (folder / "tokenizer.model").write_bytes(learn_vocabulary(sentences, PIECES))
