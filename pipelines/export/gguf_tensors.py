"""Tensors of a nested size -> those of GGUF's architecture `gemma3n`, a piece at a time."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import gguf
import torch
from torch import Tensor

from gemma3n.checkpoint import PLE_TABLE, Checkpoint
from gemma3n.config import TextConfig
from gemma3n.matformer import NestedSize
from gemma3n.save import Output
from gemma3n.slicing import sliced_outputs

Kind = gguf.GGMLQuantizationType
_DTYPES = {Kind.F32: torch.float32, Kind.BF16: torch.bfloat16}
# Small and touchy: llama.cpp's own quantiser leaves these alone, too.
_NEVER_QUANTISED = ("altup", "laurel", "per_layer_model_projection")
_STACKED = ("text.altup_projections", "text.altup_unembed_projections")
_MIXING = ".altup."  # of a layer: a few thousand numbers, kept in float32


@dataclass(frozen=True)
class Streamed:
    """A tensor to write; to GGUFWriter it is an array, as far as that looks at it."""

    name: str  # GGUF's
    shape: tuple[int, ...]
    kind: Any  # of Kind
    pieces: Iterator[Tensor]  # along the first axis

    @property
    def byte_shape(self) -> tuple[int, ...]:
        """Its shape, with bytes along the last axis."""
        return tuple(gguf.quants.quant_shape_to_byte_shape(self.shape, self.kind))

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
        return torch.Size(self.byte_shape).numel()

    def tofile(self, file: IO[bytes]) -> None:
        """Write all pieces."""
        for piece in self.pieces:
            if self.kind in _DTYPES:
                plain = piece.to(_DTYPES[self.kind]).contiguous()
                file.write(plain.view(torch.uint8).numpy().data)
            else:
                blocks = gguf.quants.quantize(piece.float().contiguous().numpy(), self.kind)
                file.write(blocks.data)


def tensors(
    checkpoint: Checkpoint, size: NestedSize, text: TextConfig, kind: Any
) -> list[Streamed]:
    """All that llama.cpp asks for.

    Args:
        checkpoint: to export from.
        size: what to keep of it.
        text: of that size.
        kind: of `Kind`, what matrices become.
    """
    outputs = sliced_outputs(checkpoint, size)
    kept = {name: output for name, output in outputs.items() if name.startswith("text.")}
    for name, shape, value in _absent(text):
        kept.setdefault(name, _filled(name, shape, value))
    if not text.altup_correct_scale:  # there it always counts
        for i in range(text.num_hidden_layers):
            name = f"text.layers.{i}.altup.correct_output_scale"
            kept[name] = _filled(name, (text.hidden_size,), 1.0)
    for name in _STACKED:
        parts = [kept.pop(f"{name}.{i}.weight") for i in range(text.altup_num_inputs - 1)]
        shape = (len(parts), *parts[0].shape)
        pieces = (piece for part in parts for piece in part.pieces)
        kept[f"{name}.weight"] = Output(name, parts[0].dtype, shape, pieces)
    kept[PLE_TABLE] = _row_per_token(kept[PLE_TABLE], text)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3N, text.num_hidden_layers)
    return [
        Streamed(_theirs(names, name), output.shape, _kind(name, output.shape, kind), output.pieces)
        for name, output in kept.items()
    ]


def _absent(text: TextConfig) -> Iterator[tuple[str, tuple[int, ...], float]]:
    """K/V of KV-sharing layers, which it asks for and never uses; not all files have them."""
    width = text.num_key_value_heads * text.head_dim
    for i in range(text.first_shared_layer, text.num_hidden_layers):
        start = f"text.layers.{i}.self_attn"
        yield f"{start}.k_proj.weight", (width, text.hidden_size), 0.0
        yield f"{start}.v_proj.weight", (width, text.hidden_size), 0.0
        yield f"{start}.k_norm.weight", (text.head_dim,), 0.0


def _filled(name: str, shape: tuple[int, ...], value: float) -> Output:
    return Output(name, "F32", shape, (torch.full(shape, value) for _ in range(1)))


def _row_per_token(table: Output, text: TextConfig) -> Output:
    """The PLE table with a row for media tokens, too: row 0, as the model uses for them."""
    more = text.vocab_size - table.shape[0]

    def pieces() -> Iterator[Tensor]:
        first = None
        for piece in table.pieces:
            first = piece[:1].clone() if first is None else first
            yield piece
        if first is not None and more:
            yield first.expand(more, -1)

    return Output(table.name, table.dtype, (text.vocab_size, table.shape[1]), pieces())


def _theirs(names: Any, ours: str) -> str:
    stem = ours.removeprefix("text.").removesuffix(".weight")
    return f"{names.get_name(f'model.{stem}')}.weight"


def _kind(name: str, shape: tuple[int, ...], kind: Any) -> Any:
    if len(shape) < 2 or _MIXING in name:
        return Kind.F32
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    if block > 1 and (shape[-1] % block or any(part in name for part in _NEVER_QUANTISED)):
        return Kind.BF16
    return kind
