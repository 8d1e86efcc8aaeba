"""A nested size's text decoder and vocabulary -> one GGUF file, as llama.cpp reads it.

GGUF (github.com/ggml-org/ggml, docs/gguf.md), architecture `gemma3n`. The gguf package knows the
format, the names and the arithmetic of its types.
"""

import logging
from pathlib import Path
from statistics import NormalDist
from typing import Any

import gguf
import numpy as np

from gemma3n.checkpoint import Checkpoint
from gemma3n.config import SLIDING, TextConfig
from gemma3n.matformer import NestedSize
from gemma3n.tokenizer import Tokenizer
from pipelines.export.gguf_limits import check_limits
from pipelines.export.gguf_tensors import Kind, tensors
from pipelines.export.gguf_vocabulary import add_vocabulary
from pipelines.settings import Weights

logger = logging.getLogger(__name__)

_KINDS = {
    Weights.auto: (Kind.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    Weights.float32: (Kind.F32, gguf.LlamaFileType.ALL_F32),
    Weights.bfloat16: (Kind.BF16, gguf.LlamaFileType.MOSTLY_BF16),
    Weights.q8_0: (Kind.Q8_0, gguf.LlamaFileType.MOSTLY_Q8_0),
}


def write_gguf(
    checkpoint: Checkpoint,
    size: NestedSize,
    folder: Path,
    weights: Weights,
    vocabulary: bool = True,
) -> Path:
    """Write `model-<type>.gguf`.

    Args:
        checkpoint: to export from; with tokenizer.model, if there is to be a vocabulary.
        size: what to keep of it.
        folder: exists.
        weights: type of the matrices; vectors and AltUp's mixing are float32.
        vocabulary: with the pieces; without, llama.cpp takes and gives token ids alone.

    Returns:
        The file.

    Raises:
        SettingsError: llama.cpp does not run such a decoder, or there is no tokenizer.model.
    """
    text = size.sliced(checkpoint.config.text)
    check_limits(text)
    tokenizer = Tokenizer(checkpoint.folder, checkpoint.config) if vocabulary else None
    kind, file_type = _KINDS[weights]
    path = folder / f"model-{kind.name}.gguf"
    writer = gguf.GGUFWriter(path, "gemma3n")
    try:
        _add_config(writer, text)
        writer.add_file_type(file_type)
        writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
        if tokenizer is None:
            writer.add_tokenizer_model("no_vocab")
        else:
            add_vocabulary(writer, tokenizer, text)
        streamed = tensors(checkpoint, size, text, kind)
        for tensor in streamed:
            writer.add_tensor_info(
                tensor.name, tensor.byte_shape, np.dtype(np.uint8), tensor.nbytes, tensor.kind
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for tensor in streamed:
            writer.write_tensor_data(tensor)  # type: ignore[arg-type]
    finally:
        writer.close()
    logger.info("wrote %s: %d tensors, %.1f MB", path.name, len(streamed), _megabytes(path))
    return path


def _megabytes(path: Path) -> float:
    return path.stat().st_size / 1e6


def _add_config(writer: Any, text: TextConfig) -> None:
    """All that describes the decoder, also what llama.cpp has in its source and does not read."""
    writer.add_context_length(text.max_position_embeddings)
    writer.add_embedding_length(text.hidden_size)
    writer.add_block_count(text.num_hidden_layers)
    writer.add_feed_forward_length(text.intermediate_size)
    writer.add_head_count(text.num_attention_heads)
    writer.add_head_count_kv(text.num_key_value_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_layer_norm_rms_eps(text.rms_norm_eps)
    writer.add_rope_freq_base(text.rope_theta)
    writer.add_float32("gemma3n.rope.freq_base_swa", text.rope_local_base_freq)
    writer.add_rope_scaling_type(gguf.RopeScalingType.NONE)
    writer.add_sliding_window(text.sliding_window)
    writer.add_sliding_window_pattern([kind == SLIDING for kind in text.layer_types])
    writer.add_shared_kv_layers(text.num_kv_shared_layers)
    writer.add_altup_active_idx(text.altup_active_idx)
    writer.add_altup_num_inputs(text.altup_num_inputs)
    writer.add_embedding_length_per_layer_input(text.hidden_size_per_layer_input)
    writer.add_activation_sparsity_scale(
        [NormalDist().inv_cdf(p) if p else float("-inf") for p in text.activation_sparsity_pattern]
    )
    writer.add_vocab_size(text.vocab_size)
    if text.final_logit_softcapping is not None:
        writer.add_final_logit_softcapping(text.final_logit_softcapping)
