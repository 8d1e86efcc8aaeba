"""Random weights in the released layout at full size, for measuring without a download.

`python -m pipelines.random_checkpoint FOLDER [e2b|e4b] [text|all]` writes 8.9 to 15.7 GB: the same
bytes every time, the K/V tensors that released files carry unused included.
"""

import argparse
import sys
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemma3n.audio.conformer import Conformer
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.fuse import Embedder
from gemma3n.save import Output, write_json, write_shards
from gemma3n.text.decoder import Decoder
from gemma3n.vision.mobilenet import MobileNet

SIZES = {
    "e2b": {"num_hidden_layers": 30, "intermediate_size": 8192, "num_kv_shared_layers": 10},
    "e4b": {"num_hidden_layers": 35, "intermediate_size": 16_384, "num_kv_shared_layers": 15},
}
PARTS = ("text", "all")
_SPREAD = 0.02  # standard deviation of matrices; gains are 1
_BLOCK = 1 << 24  # random numbers that are drawn; tensors are stretches of them
_SHARD_BYTES = 2_500_000_000


def main(argv: list[str] | None = None) -> int:
    """Write what the words after the module's name ask for.

    Returns:
        Exit code: 0, or 2 for wrong use.
    """
    parser = argparse.ArgumentParser(
        usage=f"python -m pipelines.random_checkpoint FOLDER [{'|'.join(SIZES)}] "
        f"[{'|'.join(PARTS)}]"
    )
    parser.add_argument("folder", type=Path, help="to make; 8.9 to 15.7 GB")
    parser.add_argument("size", nargs="?", choices=SIZES, default="e2b", help="e2b by default")
    parser.add_argument("parts", nargs="?", choices=PARTS, default="text", help="text by default")
    words = parser.parse_args(argv)
    try:
        write_random_checkpoint(words.folder, SIZES[words.size], words.parts)
    except SettingsError as error:
        parser.error(str(error))
    sys.stdout.write(f"{words.folder}\n")
    return 0


def write_random_checkpoint(folder: Path, text: dict[str, Any], parts: str = "text") -> None:
    """Write one checkpoint.

    Args:
        folder: to make.
        text: fields of `TextConfig` that are not E4B's, as in config.json.
        parts: "text" for a text-only export, "all" for towers too, which have one size.

    Raises:
        SettingsError: the folder exists or cannot be made, or there can be no such decoder.
    """
    raw = raw_config(text, parts)
    config = Config.from_dict(raw)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise SettingsError(
            f"'{folder}' cannot be made: {error.strerror}. Name a new folder."
        ) from error
    write_json(folder / "config.json", raw)
    drawn = torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0))
    noise = (drawn * _SPREAD).bfloat16()
    outputs = [
        Output(key, "BF16", shape, _pieces(key, shape, noise))
        for key, shape in shapes_of(config).items()
    ]
    write_shards(folder, outputs, _SHARD_BYTES)


def raw_config(text: Mapping[str, Any], parts: str) -> dict[str, Any]:
    """What config.json says: `text` of the decoder, "text" or "all" parts."""
    raw = _header("gemma3n_text") | dict(text)
    if parts == "text":
        return raw
    return _header("gemma3n") | {"text_config": raw, "vision_config": {}, "audio_config": {}}


def _header(model_type: str) -> dict[str, Any]:
    return {"model_type": model_type, "dtype": "bfloat16", "tie_word_embeddings": True}


def shapes_of(config: Config) -> dict[str, tuple[int, ...]]:
    """Every tensor's shape by its released name."""
    text, vision, audio = config.text, config.vision, config.audio
    prefix = "model." if vision is None else "model.language_model."
    width = text.num_hidden_layers * text.hidden_size_per_layer_input
    shapes: dict[str, tuple[int, ...]] = {
        f"{prefix}embed_tokens_per_layer.weight": (text.vocab_size_per_layer_input, width)
    }
    with torch.device("meta"):
        modules: dict[str, nn.Module] = {prefix: Decoder(text)}
        if vision is not None:
            modules["model.vision_tower.timm_model."] = MobileNet(vision)
            modules["model.embed_vision."] = Embedder(vision, text.hidden_size)
        if audio is not None:
            modules["model.audio_tower."] = Conformer(audio)
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
    sys.exit(main())
