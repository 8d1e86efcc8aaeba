"""Tensors of a checkpoint -> the parameters of a module, in place where dtype and device allow."""

import logging
import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from gemma3n.checkpoint import PLE_TABLE, Checkpoint, cut, is_unused_kv
from gemma3n.device import Formats
from gemma3n.errors import SettingsError
from gemma3n.matformer import NestedSize
from gemma3n.placement import Ple
from gemma3n.rounded import EMBEDDING, is_scale, shape_of
from gemma3n.rounded_towers import round_maps
from gemma3n.routing import set_routes
from gemma3n.tables import ple_table
from gemma3n.text.decoder import Decoder

logger = logging.getLogger(__name__)

# Files from before timm 1.0.17 have no stem bias; the released weights were updated with zeros.
_ABSENT_IS_ZERO = frozenset({"vision.conv_stem.conv.bias"})
_SHOWN = 3  # names in a message

Built = TypeVar("Built", bound=nn.Module)


@dataclass(frozen=True)
class Target:
    """Where weights go and in which format."""

    device: torch.device
    dtype: torch.dtype

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor there: the same memory if nothing has to change."""
        return tensor.to(self.device, self.dtype)


def load_module(
    checkpoint: Checkpoint,
    prefix: str,
    build: Callable[[], Built],
    target: Target,
    rounds: bool = False,
) -> Built:
    """Build a module and give it the tensors under `prefix`, all of them.

    Args:
        checkpoint: to load from.
        prefix: ours, such as `vision` or `embed_audio`.
        build: makes the module; called where no memory is set aside for weights.
        target: device and dtype of the parameters.
        rounds: large linear maps become int8; then nothing is left mapped.

    Raises:
        SettingsError: the checkpoint lacks a tensor, has one too many, or one of another shape.
    """
    began = time.perf_counter()
    module = _on_meta(build)
    wanted = {f"{prefix}.{name}": tuple(t.shape) for name, t in module.state_dict().items()}
    have = {name: entry.shape for name, entry in checkpoint.part(prefix).items()}
    _compare(checkpoint, wanted, have)
    bring = checkpoint.tensor
    if rounds:
        # Views of the others would keep much of what lies around them mapped: see `load_decoder`.
        bring = checkpoint.read
        round_maps(module, lambda name: target(bring(f"{prefix}.{name}")))
    tensors = {
        name: target(bring(name)) if name in have else _zeros(wanted[name], target)
        for name in (f"{prefix}.{key}" for key in module.state_dict())
    }
    _assign(module, prefix, tensors)
    _log(prefix, module, target, began)
    return module


def load_decoder(
    checkpoint: Checkpoint, size: NestedSize, device: torch.device, formats: Formats, ple: Ple
) -> Decoder:
    """The text decoder at one nested size: views of the prefixes and layers that it keeps.

    Args:
        checkpoint: to load from.
        size: what to hold; smaller sizes can run on it later.
        device: of the parameters; the PLE table keeps its own.
        formats: of weights and activations.
        ple: where the PLE table is.

    Raises:
        SettingsError: as for `load_module`.
    """
    began = time.perf_counter()
    if checkpoint.config.raw.get("tie_word_embeddings") is False:
        raise SettingsError(
            f"'{checkpoint.folder}' has an output head of its own (tie_word_embeddings=false); "
            "Gemma 3n's is its text embedding. This is another model's checkpoint."
        )
    config = checkpoint.config.text
    width = config.hidden_size_per_layer_input
    table_shape = (config.vocab_size_per_layer_input, config.num_hidden_layers * width)
    decoder = _on_meta(lambda: Decoder(config, size.ffn_widths(config)))
    wanted = {f"text.{name}": tuple(t.shape) for name, t in decoder.state_dict().items()}
    have: dict[str, tuple[int, ...]] = {}
    views: dict[str, tuple[slice, ...]] = {}
    for name, entry in checkpoint.part("text").items():
        kept = cut(name, size, config)
        if is_scale(entry):
            continue
        if kept is None or is_unused_kv(name, config):
            logger.debug("%s not loaded: %s", name, "dropped layer" if kept is None else "unused")
            continue
        # Per-layer blocks stay whole: the decoder finds its layers in them by number.
        prefix_only = replace(kept, layers=None)
        have[name] = prefix_only.shape(shape_of(entry), width)
        views[name] = tuple(slice(n) for n in have[name])
    _compare(checkpoint, {**wanted, PLE_TABLE: table_shape}, have)
    target = Target(device, formats.text)
    set_routes(decoder, checkpoint, size, formats, device)
    # With a route for its head the embedding only looks up rows: as they are in the file.
    # All others are small then, and read: views of them would map 0.4 GB of what lies around them.
    is_routed = decoder.embed_tokens.route is not None
    tensors = {}
    for name in (f"text.{key}" for key in decoder.state_dict()):
        if is_routed and name == EMBEDDING:
            tensors[name] = checkpoint.tensor(name)[views[name]].to(device)
        else:
            whole = checkpoint.read(name) if is_routed else checkpoint.tensor(name)
            tensors[name] = target(whole[views[name]])
    _assign(decoder, "text", tensors)
    decoder.table = ple_table(checkpoint, size, ple, device)
    _log("text", decoder, target, began, formats)
    return decoder


class _NoInit(TorchFunctionMode):
    """Leaves parameters as they are made: drawing numbers on the meta device imports sympy."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Collection[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return given["tensor"] if "tensor" in given else args[0]
        return func(*args, **given)


def _on_meta(build: Callable[[], Built]) -> Built:
    with torch.device("meta"), _NoInit():
        return build().eval().requires_grad_(False)


def _zeros(shape: tuple[int, ...], target: Target) -> Tensor:
    return torch.zeros(shape, device=target.device, dtype=target.dtype)


def _assign(module: nn.Module, prefix: str, tensors: dict[str, Tensor]) -> None:
    state = {name.removeprefix(prefix + "."): tensor for name, tensor in tensors.items()}
    module.load_state_dict(state, assign=True)
    module.requires_grad_(False)


def _compare(
    checkpoint: Checkpoint, wanted: dict[str, tuple[int, ...]], have: dict[str, tuple[int, ...]]
) -> None:
    """Refuse a part unless every tensor is there, none is left over, and the shapes agree."""
    folder = checkpoint.folder
    if missing := wanted.keys() - have.keys() - _ABSENT_IS_ZERO:
        raise SettingsError(
            f"'{folder}' lacks {_some(checkpoint, missing)}, which its config.json calls for. "
            "Config and weights must be of one checkpoint: download both again."
        )
    if extra := have.keys() - wanted.keys():
        raise SettingsError(
            f"'{folder}' holds {_some(checkpoint, extra)}, for which its config.json has no place. "
            "Config and weights must be of one checkpoint: download both again."
        )
    for name, shape in have.items():
        if shape != wanted[name]:
            raise SettingsError(
                f"'{checkpoint.released(name)}' in '{folder}' has shape {list(shape)}, but its "
                f"config.json makes it {list(wanted[name])}. Config and weights must be of one "
                "checkpoint: download both again."
            )


def _some(checkpoint: Checkpoint, names: Collection[str]) -> str:
    shown = ", ".join(f"'{checkpoint.released(name)}'" for name in sorted(names)[:_SHOWN])
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more tensors"


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights, of those too that routes hold instead of it."""
    held = sum(p.numel() * p.element_size() for p in module.parameters())
    return held + sum(one.route.bytes for one in _routed(module))


def _routed(module: nn.Module) -> list[Any]:
    """The maps in it that a route computes."""
    return [one for one in module.modules() if getattr(one, "route", None) is not None]


def _log(
    prefix: str,
    module: nn.Module,
    target: Target,
    began: float,
    formats: Formats | None = None,
) -> None:
    routes = _routed(module)
    # A head's route is a copy of the table, which counts as itself.
    alone = (one.route for one in routes if getattr(one, "weight", None) is None)
    instead = sum(math.prod(route.shape) for route in alone)
    kind = str(target.dtype).removeprefix("torch.")
    if formats is not None and routes:
        kind = f"{'packed ' * formats.pack}{formats.weights.value}"
    elif routes:
        kind = f"int8 and {kind}"
    logger.info(
        "loaded %s: %.1f M parameters, %.1f MB as %s on %s, %.2f s",
        prefix,
        (sum(p.numel() for p in module.parameters()) + instead) / 1e6,
        weight_bytes(module) / 1e6,
        kind,
        target.device,
        time.perf_counter() - began,
    )
