"""Embeddings of any PyTorch transformer off the accelerator; rows are fetched as tokens need them.

What per-layer embeddings are to Gemma 3n, large vocabularies are to others: each token needs one
row. The protocol and the row cache are those of `text/ple.py`; outputs stay the same bit for bit.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gemma3n.errors import SettingsError
from gemma3n.readable import bytes_text
from gemma3n.save import Output, replace_file
from gemma3n.text.ple import FileTable, HostTable, PleTable, Traffic
from gemma3n.text.row_cache import RowCache

logger = logging.getLogger(__name__)

_LAYERS = (0,)  # an embedding is a table of one layer
_DTYPES = {
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float32: "F32",
    torch.float64: "F64",
}


@dataclass
class Offloaded:
    """What moved, in bytes."""

    moved: dict[str, int] = field(default_factory=dict)  # by name: of its weight
    freed: int = 0  # of them, those that the device has no more
    cache: int = 0  # that row caches take there, once they are full
    tables: dict[str, Traffic] = field(default_factory=dict)  # what was asked of each, as it goes

    def __str__(self) -> str:
        return (
            f"{', '.join(self.moved)}: {bytes_text(sum(self.moved.values()))} moved, "
            f"{bytes_text(self.freed)} freed, {bytes_text(self.cache)} of row caches"
        )


def offload_embeddings(
    model: nn.Module,
    names: Sequence[str],
    cache_rows: int = 1024,
    folder: str | Path | None = None,
    untie: bool = False,
) -> Offloaded:
    """Move embedding tables of a model to host memory, or to files; for inference.

    The modules stay where they are in the model and take ids as before; their `weight` has no rows
    any more. `state_dict` still holds all of it.

    Args:
        model: on its device, in its dtype; changed in place.
        names: of its embeddings, as `named_modules` has them: ["model.embed_tokens"].
        cache_rows: rows of each kept on the device; 0 for none.
        folder: where tables are written, one file each, and read from; None for host memory.
        untie: give an embedding that shares its weight a copy of its own. What it shares it with,
            such as an output head, computes with all of it and keeps it: nothing is freed then.

    Returns:
        What moved.

    Raises:
        SettingsError: no such embedding, one that shares its weight or renorms it, or a folder
            that cannot be written. Nothing has been changed then.

    Example:
        >>> offload_embeddings(llama, ["model.embed_tokens"], cache_rows=1024)
    """
    if isinstance(names, str) or not names:
        raise SettingsError(f"names={names!r}; give a list of embeddings, as ['embed_tokens'].")
    if cache_rows < 0:
        raise SettingsError(f"cache_rows={cache_rows}; at least 0, which is no cache. Raise it.")
    embeddings = {name: _embedding(model, name) for name in dict.fromkeys(names)}
    shared = {name: _sharing(model, name, embeddings) for name in embeddings}
    for name, others in shared.items():
        if others and not untie:
            raise SettingsError(
                f"'{name}' shares its weight with {', '.join(others)}, which computes with all of "
                "it: off the device, it would not work there. Leave it, or set untie=true, which "
                "gives the embedding a copy of its own and frees nothing."
            )
    done = Offloaded()
    tables = {name: _table(name, one, folder) for name, one in embeddings.items()}
    for name, one in embeddings.items():
        weight, table = one.weight, tables[name]
        if cache_rows:
            table = RowCache(table, len(weight), cache_rows, _LAYERS, weight.device)
            done.cache += cache_rows * weight[0].nbytes
        done.moved[name], done.tables[name] = weight.nbytes, table.traffic
        if not shared[name] and not (folder is None and weight.device.type == "cpu"):
            done.freed += weight.nbytes
        _replace(one, table)
    logger.info("offloaded %s", done)
    return done


class OffloadedEmbedding(nn.Embedding):
    """An embedding whose rows come from a table elsewhere."""

    rows_of: PleTable
    vocab: int

    def forward(self, input: Tensor) -> Tensor:
        """Rows of ids.

        Args:
            input: integers [...], each below the size of the vocabulary.

        Returns:
            [..., dim], on the device of the embedding.

        Raises:
            IndexError: an id is none of the vocabulary's.
        """
        ids = input.flatten().long().cpu()
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.vocab:
            raise IndexError(
                f"ids from {int(ids.min())} to {int(ids.max())}, but the embedding has rows 0 to "
                f"{self.vocab - 1}. Use the tokenizer of this model."
            )
        rows = self.rows_of.rows(ids, _LAYERS).to(self.weight.device)
        return rows.view(*input.shape, self.embedding_dim)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        ids = torch.arange(self.vocab)
        table = self.rows_of.table if isinstance(self.rows_of, RowCache) else self.rows_of
        destination[f"{prefix}weight"] = table.rows(ids, _LAYERS).flatten(1)


def _embedding(model: nn.Module, name: str) -> nn.Embedding:
    modules = dict(model.named_modules())
    one = modules.get(name)
    if not isinstance(one, nn.Embedding):
        known = [n for n, module in modules.items() if isinstance(module, nn.Embedding)]
        what = "no module of that name" if one is None else f"a {type(one).__name__}"
        raise SettingsError(
            f"'{name}' is {what}; embeddings of this model are {', '.join(known) or 'none'}. "
            "Name one of them."
        )
    if isinstance(one, OffloadedEmbedding):
        raise SettingsError(f"'{name}' is offloaded already. Leave it out.")
    if one.max_norm is not None:
        raise SettingsError(
            f"'{name}' has max_norm={one.max_norm:g}, so that using it changes its weight. Only "
            "embeddings that stay as they are can be offloaded."
        )
    if one.weight.dtype not in _DTYPES:
        raise SettingsError(
            f"'{name}' is in {str(one.weight.dtype).removeprefix('torch.')}; accepted are "
            f"{', '.join(str(dtype).removeprefix('torch.') for dtype in _DTYPES)}."
        )
    return one


def _sharing(model: nn.Module, name: str, embeddings: dict[str, nn.Embedding]) -> list[str]:
    """Other parameters and buffers in the memory of an embedding's weight.

    Where the embedding itself is in the model under two names, it moves under both.
    """
    own = embeddings[name]
    memory = own.weight.untyped_storage().data_ptr()
    every = [
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ]
    return [
        other
        for other, tensor in every
        if tensor.untyped_storage().data_ptr() == memory
        and model.get_submodule(other.rpartition(".")[0]) is not own
    ]


def _table(name: str, one: nn.Embedding, folder: str | Path | None) -> PleTable:
    weight = one.weight.detach()
    if folder is None:
        target = torch.empty(
            (len(weight), 1, one.embedding_dim),
            dtype=weight.dtype,
            pin_memory=weight.device.type == "cuda",
        )
        target[:, 0].copy_(weight)
        return HostTable(target, _LAYERS)
    path = Path(folder) / f"{name}.safetensors"
    output = Output(name, _DTYPES[weight.dtype], tuple(weight.shape), iter([weight.cpu()]))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [output])
    except OSError as error:
        raise SettingsError(
            f"'{path}', which is to hold the embedding, cannot be written: {error.strerror}. "
            "Name a folder with room, or leave it out for host memory."
        ) from error
    start = path.stat().st_size - weight.nbytes
    return FileTable(path, start, weight.shape, weight.dtype, one.embedding_dim)


def _replace(one: nn.Embedding, table: PleTable) -> None:
    """Let an embedding ask a table; a subclass keeps what it does beside, such as scaling."""
    kind, vocab = type(one), len(one.weight)
    # What `super().forward` is in the subclass is then ours.
    one.__class__ = (
        OffloadedEmbedding
        if kind is nn.Embedding
        else type(f"Offloaded{kind.__name__}", (kind, OffloadedEmbedding), {})
    )
    object.__setattr__(one, "rows_of", table)  # no part of the module: it moves nowhere with it
    object.__setattr__(one, "vocab", vocab)
    one.weight = nn.Parameter(one.weight.detach()[:0].clone(), requires_grad=False)
