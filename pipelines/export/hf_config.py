"""A config as our own code reads it -> `config.json` that says everything transformers asks for."""

from dataclasses import asdict
from typing import Any

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import FULL, SLIDING, Config
from gemma3n.tokenizer import Tokenizer
from gemma3n.vision.block_table import decoded_table

_CLASSES = {
    "gemma3n": "Gemma3nForConditionalGeneration",
    "gemma3n_text": "Gemma3nForCausalLM",
}


def explicit_config(raw: dict[str, Any]) -> dict[str, Any]:
    """The same config with every field, so that no default of another version counts.

    RoPE is spelt both ways: transformers 5 reads `rope_parameters`, 4 the other two fields.

    Args:
        raw: of a checkpoint; what we do not know of it stays.
    """
    config = Config.from_dict(raw)
    kind = raw["model_type"]
    whole = {
        **raw,
        "architectures": [_CLASSES[kind]],
        "dtype": raw.get("dtype") or raw.get("torch_dtype") or "bfloat16",
        "tie_word_embeddings": True,
    }
    whole.pop("torch_dtype", None)
    text = {
        **asdict(config.text),
        "rope_parameters": {
            FULL: {"rope_type": "default", "rope_theta": config.text.rope_theta},
            SLIDING: {"rope_type": "default", "rope_theta": config.text.rope_local_base_freq},
        },
        "hidden_activation": "gelu_pytorch_tanh",
        "attention_bias": False,
    }
    if kind == "gemma3n_text":
        return {**whole, **text}
    whole |= {key: value for key, value in asdict(config).items() if _is_id(key)}
    whole["text_config"] = {**raw.get("text_config", {}), **text, "model_type": "gemma3n_text"}
    if config.vision is not None:
        vision = {**raw["vision_config"], **asdict(config.vision), "model_type": "gemma3n_vision"}
        if config.vision.model_args is not None:
            vision["model_args"] = decoded_table(config.vision)
        whole["vision_config"] = {**vision, "do_pooling": False}
    if config.audio is not None:
        audio = {**raw["audio_config"], **asdict(config.audio), "model_type": "gemma3n_audio"}
        whole["audio_config"] = audio
    return whole


def _is_id(key: str) -> bool:
    return key.endswith(("_token_id", "_tokens_per_image"))


def generation_config(checkpoint: Checkpoint) -> dict[str, Any]:
    """What ends an answer; as the released instruction-tuned checkpoints say it."""
    text = checkpoint.config.text
    stops: list[int] = [text.eos_token_id]
    if (checkpoint.folder / "tokenizer.model").is_file():
        stops = Tokenizer(checkpoint.folder, checkpoint.config).stop_ids
    return {
        "bos_token_id": text.bos_token_id,
        "eos_token_id": stops,
        "pad_token_id": text.pad_token_id,
    }
