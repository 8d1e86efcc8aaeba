"""Random weights in the released layout at full size, for measuring without a download.

`python -m pipelines.random_checkpoint FOLDER [e2b|e4b] [text|all]` writes 8.9 to 15.7 GB: the same
bytes every time, the K/V tensors that released files carry unused included.
"""

import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemma3n.audio.conformer import Conformer
from gemma3n.config import AudioConfig, TextConfig, VisionConfig
from gemma3n.errors import SettingsError
from gemma3n.fuse import Embedder
from gemma3n.save import Output, write_json, write_shards
from gemma3n.text.decoder import Decoder
from gemma3n.vision.mobilenet import MobileNet

TEXT = {
    "e2b": {"num_hidden_layers": 30, "intermediate_size": 8192, "num_kv_shared_layers": 10},
    "e4b": {"num_hidden_layers": 35, "intermediate_size": 16_384, "num_kv_shared_layers": 15},
}
_SPREAD = 0.02  # standard deviation of matrices; gains are 1
_BLOCK = 1 << 24  # random numbers that are drawn; tensors are stretches of them
_SHARD_BYTES = 2_500_000_000


def write_random_checkpoint(folder: Path, name: str = "e2b", parts: str = "text") -> None:
    """Write one checkpoint.

    Args:
        folder: to make.
        name: "e2b" or "e4b".
        parts: "text" for a text-only export, "all" for towers too.

    Raises:
        SettingsError: another name or other parts.
    """
    if name not in TEXT or parts not in ("text", "all"):
        raise SettingsError(f"got {name} {parts}; accepted are {', '.join(TEXT)} and text or all.")
    folder.mkdir(parents=True)
    raw = TEXT[name]
    if parts == "text":
        write_json(folder / "config.json", _header("gemma3n_text") | raw)
    else:
        write_json(
            folder / "config.json",
            _header("gemma3n")
            | {"text_config": raw | {"model_type": "gemma3n_text"}}
            | {"vision_config": {}, "audio_config": {}},
        )
    drawn = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0))
    noise = (drawn * _SPREAD).bfloat16()
    outputs = [
        Output(key, "BF16", shape, _pieces(key, shape, noise))
        for key, shape in _shapes(TextConfig(**_per_layer(raw)), parts).items()
    ]
    write_shards(folder, outputs, _SHARD_BYTES)


def _header(model_type: str) -> dict[str, Any]:
    return {"model_type": model_type, "dtype": "bfloat16", "tie_word_embeddings": True}


def _per_layer(raw: dict[str, int]) -> dict[str, Any]:
    return raw | {"intermediate_size": [raw["intermediate_size"]] * raw["num_hidden_layers"]}


def _shapes(text: TextConfig, parts: str) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape by its released name."""
    prefix = "model." if parts == "text" else "model.language_model."
    width = text.num_hidden_layers * text.hidden_size_per_layer_input
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embed_tokens_per_layer.weight": (text.vocab_size_per_layer_input, width)
    }
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {prefix: Decoder(text)}
        if parts == "all":
            vision, audio = VisionConfig(), AudioConfig()
            modules["model.vision_tower.timm_model."] = MobileNet(vision)
            modules["model.audio_tower."] = Conformer(audio)
            modules["model.embed_vision."] = Embedder(vision, text.hidden_size)
            modules["model.embed_audio."] = Embedder(audio, text.hidden_size)
    for start, module in modules.items():
        shapes |= {start + key: tuple(value.shape) for key, value in module.state_dict().items()}
    kv_width = text.num_key_value_heads * text.head_dim
    for layer in range(text.first_shared_layer, text.num_hidden_layers):
        attention = f"{prefix}layers.{layer}.self_attn."
        for key in ("k_proj", "v_proj"):
            shapes[f"{attention}{key}.weight"] = (kv_width, text.hidden_size)
        shapes[f"{attention}k_norm.weight"] = (text.head_dim,)
    return shapes


def _pieces(name: str, shape: tuple[int, ...], noise: Tensor) -> Iterator[Tensor]:
    left = torch.Size(shape).numel()
    if len(shape) == 1:
        yield torch.ones(shape, dtype=torch.bfloat16)
        return
    # Each stretch begins elsewhere, so that no two matrices are the same.
    start = zlib.crc32(name.encode()) % (_BLOCK // 2)
    while left:
        piece = noise[start : start + left]
        yield piece
        left -= len(piece)
        start = (start * 5 + 12_345) % (_BLOCK // 2)


if __name__ == "__main__":
    write_random_checkpoint(Path(sys.argv[1]), *sys.argv[2:])
