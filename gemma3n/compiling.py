"""`compile=true`: what a decoder layer does before and after attention, fused by `torch.compile`.

Beside its products a layer is some three hundred small operations, each of which costs a row of
decoding microseconds, and a batch a pass over memory. Fused they are a dozen loops. Layers that are
built alike share their graphs, each compiled when it is first needed: for one row and for more, for
a token and for a prompt. The head and the maps of AltUp's streams are compiled, too: a graph has a
product of its own for a single token, see `gemma3n.routes.single`.

Attention itself stays as it is: its keys are one more with every token.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor, nn

from gemma3n.errors import SettingsError
from gemma3n.linear import Linear, TiedEmbedding
from gemma3n.text.decoder import Decoder, DecoderLayer

_Method = Callable[..., object]

_GRAPHS = 64  # of one method and build, over all shapes and nested sizes; torch gives up at 8

_compiled: dict[tuple[object, ...], _Method] = {}


def compile_decoder(decoder: Decoder) -> None:
    """Let the decoder run compiled; what it computes differs in the last bits.

    Raises:
        SettingsError: torch cannot compile on this machine.
    """
    check(str(next(decoder.parameters()).device))
    for module in decoder.layers.values():
        _share(cast(DecoderLayer, module), DecoderLayer.enter, DecoderLayer.leave)
    for linear in (*decoder.altup_projections, *decoder.altup_unembed_projections):
        _share(linear, Linear.forward)
    _share(decoder.embed_tokens, TiedEmbedding.project)


@cache
def check(device: str) -> None:
    """Compile next to nothing.

    Raises:
        SettingsError: it does not work, or gives something else.
    """
    x = torch.arange(8, dtype=torch.float32, device=device)
    try:
        found = torch.compile(torch.square)(x)
    except Exception as error:  # torch has many reasons, and no common class for them
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise SettingsError(
            f"compile=true, but torch cannot compile on {device} here: {reason}. Install a C++ "
            "compiler (g++ or clang), or use compile=false."
        ) from error
    if not torch.equal(found, x * x):
        raise SettingsError(
            f"compile=true, but what torch compiles on {device} here is wrong. Use compile=false."
        )


def structure(part: object, within: tuple[int, ...] = ()) -> object:
    """All that a graph depends on of what a layer is made of, and nothing of what its weights are.

    Args:
        part: the layer, or what it holds.
        within: objects that hold `part`, by their ids.

    Returns:
        Something hashable, equal for two layers of which one may run the graphs of the other.
    """
    match part:
        case Tensor():
            return tuple(part.shape), part.dtype, part.layout, part.device
        case dict():
            return tuple((name, structure(each, within)) for name, each in part.items())
        case list() | tuple():
            return tuple(structure(each, within) for each in part)
        case None | bool() | int() | float() | str() | torch.dtype() | FunctionType():
            return part
        case set():
            return frozenset(part)
        case _ if id(part) in within:  # a map holds the route that holds the map
            return within.index(id(part))
        case _:
            return type(part), structure(vars(part), (*within, id(part)))


def _share(module: nn.Module, *methods: Callable[..., object]) -> None:
    """Put compiled methods in the place of a module's own; those built alike share their graphs."""
    build = structure(module)
    for method in methods:
        setattr(module, method.__name__, partial(_compile(method, build), module))


def _compile(method: _Method, build: object) -> _Method:
    """A method of modules of such a build, compiled."""
    if (method, build) not in _compiled:
        assert isinstance(method, FunctionType)
        config = torch._dynamo.config
        config.cache_size_limit = max(config.cache_size_limit, _GRAPHS)
        # Of its own code, to which torch ties what it compiles: else it would have to find out
        # which build comes, in longer than many a product takes.
        code, names = method.__code__.replace(), method.__globals__
        own = FunctionType(code, names, method.__name__, method.__defaults__)
        # Guards have asked what shapes come, and `structure` knows those of weights.
        options: dict[str, Any] = {"size_asserts": False}
        if hasattr(torch.compiler, _FILTERS):
            options["guard_filter_fn"] = _asked
        # Rows come and go with every step, so that sizes of batch and prompt are left open.
        _compiled[method, build] = torch.compile(own, dynamic=True, fullgraph=True, options=options)
    return _compiled[method, build]


_FILTERS = "skip_guard_on_globals_unsafe"  # came with what filters questions


def _asked(questions: Sequence[Any]) -> list[bool]:
    """Which of the questions that torch would ask at each call are asked: those about inputs."""
    known = ("self", "G[", "dict(", "type(")
    return [not question.name.removeprefix("L['").startswith(known) for question in questions]
