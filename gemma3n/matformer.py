"""Nested sizes: which layers are kept, how wide each FFN is. MatFormer §3 (arXiv 2310.07707).

A size is a choice inside a larger model: FFN prefixes and kept layers, never a copy of weights.
The table of published sizes is that of the MatFormer Lab's Mix'n'Match list for E4B.
"""

import difflib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import groupby

from gemma3n.config import Config, TextConfig
from gemma3n.errors import SettingsError

logger = logging.getLogger(__name__)

_E4B_LAYERS, _E4B_WIDTH, _E2B_WIDTH, _E4B_SHARED = 35, 16_384, 8192, 15
_E2B_SKIP = tuple(range(20, 25))


@dataclass(frozen=True)
class NestedSize:
    """A model inside the model.

    Args:
        skip: layers left out, by the checkpoint's numbers.
        widths: FFN units of kept layers: one number for all, one a layer, or None for all units.
        name: what it is called in results.
    """

    skip: tuple[int, ...] = ()
    widths: int | tuple[int, ...] | None = None
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        # Lists are welcome, but a size is a key of dictionaries.
        object.__setattr__(self, "skip", tuple(sorted(set(self.skip))))
        if self.widths is not None and not isinstance(self.widths, int):
            object.__setattr__(self, "widths", tuple(self.widths))

    @property
    def label(self) -> str:
        """Its name; for one without, `skip=5,6 widths=256*3,512*10`."""
        parts = []
        if self.skip:
            parts.append(f"skip={','.join(map(str, self.skip))}")
        if isinstance(self.widths, int):
            parts.append(f"widths={self.widths}")
        elif self.widths is not None:
            runs = ((width, len(list(same))) for width, same in groupby(self.widths))
            parts.append(f"widths={','.join(f'{width}*{times}' for width, times in runs)}")
        return self.name or " ".join(parts) or "full"

    @classmethod
    def from_skip(
        cls, skip: Iterable[int], widths: int | Iterable[int] | None = None, name: str = ""
    ) -> "NestedSize":
        """A size by the layers it drops.

        >>> NestedSize.from_skip([20, 21, 22, 23, 24], 8192)  # the official E2B inside E4B
        NestedSize(skip=(20, 21, 22, 23, 24), widths=8192, name='')
        """
        chosen = widths if widths is None or isinstance(widths, int) else tuple(widths)
        return cls(tuple(skip), chosen, name)

    @classmethod
    def from_layers(
        cls,
        layers: Iterable[int] | None,
        widths: int | Iterable[int] | None,
        config: TextConfig,
        name: str = "",
    ) -> "NestedSize":
        """A size by the layers it keeps (None keeps all).

        Raises:
            SettingsError: a layer that the checkpoint does not have.
        """
        every = range(config.num_hidden_layers)
        kept = set(every if layers is None else layers)
        if strange := sorted(kept - set(every)):
            raise SettingsError(
                f"nested layers {strange}, but this checkpoint has layers 0 to {every[-1]}. "
                "Name only layers that it has."
            )
        return cls.from_skip(set(every) - kept, widths, name)

    def layers(self, config: TextConfig) -> tuple[int, ...]:
        """The kept layers, by the checkpoint's numbers."""
        return tuple(i for i in range(config.num_hidden_layers) if i not in self.skip)

    def ffn_widths(self, config: TextConfig) -> dict[int, int]:
        """FFN units in use, by kept layer."""
        kept = self.layers(config)
        if self.widths is None:
            return {i: config.intermediate_size[i] for i in kept}
        if isinstance(self.widths, int):
            return dict.fromkeys(kept, self.widths)
        return dict(zip(kept, self.widths, strict=True))

    def check(self, config: TextConfig) -> None:
        """Refuse a size that this model does not contain.

        Raises:
            SettingsError: unknown or no layers, a width too many or too large, or a dropped layer
                whose K/V later layers attend with.
        """
        layers = config.num_hidden_layers
        if strange := [i for i in self.skip if not 0 <= i < layers]:
            raise SettingsError(
                f"nested size drops layers {strange}, but this checkpoint has layers 0 to "
                f"{layers - 1}. Name only layers that it has."
            )
        kept = self.layers(config)
        if not kept:
            raise SettingsError("nested size drops every layer; keep at least one.")
        if isinstance(self.widths, tuple) and len(self.widths) != len(kept):
            raise SettingsError(
                f"nested size gives {len(self.widths)} widths for {len(kept)} kept layers. "
                "Give one a kept layer, or one number for all."
            )
        for i, width in self.ffn_widths(config).items():
            if not 1 <= width <= config.intermediate_size[i]:
                raise SettingsError(
                    f"width={width} for layer {i}, which holds 1 to "
                    f"{config.intermediate_size[i]} FFN units. Pick a width that fits, or a "
                    "larger checkpoint."
                )
        if lost := sorted({config.kv_source(i) for i in kept} - set(kept)):
            raise SettingsError(
                f"nested size drops layers {lost}, whose K/V the KV-sharing layers attend with. "
                "Keep them, or drop every KV-sharing layer of their type too."
            )

    def within(self, other: "NestedSize", config: TextConfig) -> bool:
        """Whether a model loaded at `other` holds all that this size needs."""
        larger = other.ffn_widths(config)
        return all(larger.get(i, 0) >= w for i, w in self.ffn_widths(config).items())

    def sliced(self, config: TextConfig) -> TextConfig:
        """The config of this size as a model of its own, layers renumbered from 0."""
        self.check(config)
        kept = self.layers(config)
        return replace(
            config,
            num_hidden_layers=len(kept),
            intermediate_size=list(self.ffn_widths(config).values()),
            num_kv_shared_layers=sum(i >= config.first_shared_layer for i in kept),
            layer_types=[config.layer_types[i] for i in kept],
            activation_sparsity_pattern=[config.activation_sparsity_pattern[i] for i in kept],
        )


FULL_SIZE = NestedSize(name="full")


def _wide(*wide: int | range, skip: Iterable[int] = ()) -> tuple[tuple[int, ...], set[int]]:
    """One published row: layers dropped, and kept layers of E4B's full width."""
    spread = [range(w, w + 1) if isinstance(w, int) else w for w in wide]
    return tuple(skip), {i for part in spread for i in part}


_PUBLISHED = {
    "small": _wide(skip=_E2B_SKIP),
    "e2b": _wide(skip=_E2B_SKIP),
    "e1.96b-layer": _wide(4, skip=_E2B_SKIP),
    "e2.54b-layer": _wide(4, range(20, 25)),
    "e2.69b-layer": _wide(4, 9, 14, range(19, 25)),
    "e2.98b-layer": _wide(range(15, 25), range(30, 35)),
    "e3.18b-layer": _wide(4, range(9, 25), 29, 34),
    "e3.39b-layer": _wide(4, range(9, 30), 34),
    "e3.59b-layer": _wide(range(4, 30), 34),
    "e3.79b-layer": _wide(range(4, 35)),
    "e2.49b-block": _wide(range(20, 25)),
    "e2.73b-block": _wide(range(15, 25)),
    "e2.98b-block": _wide(range(10, 25)),
    "e3.24b-block": _wide(range(10, 30)),
    "e3.49b-block": _wide(range(5, 30)),
    "e3.79b-block": _wide(range(5, 35)),
}


def named_sizes(config: Config) -> dict[str, NestedSize]:
    """Every size that this checkpoint has a name for, `full` first.

    Names come from the extra key `nested_sizes` of its config (`{name: {skip, widths}}`); a
    released E4B has those of the published table.
    """
    named = {"full": FULL_SIZE}
    if own := config.raw.get("nested_sizes"):
        for name, size in own.items():
            named[name] = NestedSize.from_skip(size.get("skip", ()), size.get("widths"), name)
    elif _is_e4b(config.text):
        for name, (skip, wide) in _PUBLISHED.items():
            kept = (i for i in range(_E4B_LAYERS) if i not in skip)
            widths = tuple(_E4B_WIDTH if i in wide else _E2B_WIDTH for i in kept)
            named[name] = NestedSize(skip, widths if wide else _E2B_WIDTH, name)
    return named


def ffn_borders(config: Config, size: NestedSize) -> dict[int, list[int]]:
    """FFN widths at which nested sizes end, by layer that `size` keeps; its own width is the last.

    Args:
        config: of the checkpoint, whose named sizes count.
        size: what is held.
    """
    ends: dict[int, set[int]] = {}
    for named in named_sizes(config).values():
        for layer, width in named.ffn_widths(config.text).items():
            ends.setdefault(layer, set()).add(width)
    held = size.ffn_widths(config.text)
    return {i: [*sorted(w for w in ends[i] if w < width), width] for i, width in held.items()}


def layer_borders(config: Config) -> list[int]:
    """Layers at which runs of layers that are computed together begin or end, the last included."""
    text = config.text
    borders = {text.first_shared_layer, text.num_hidden_layers}
    for named in named_sizes(config).values():
        kept = set(named.layers(text))
        borders |= {i for i in range(1, text.num_hidden_layers) if (i in kept) != (i - 1 in kept)}
    return sorted(borders - {0})


def resolve_size(nested: str | NestedSize, config: Config) -> NestedSize:
    """A size by name, or one as it is, checked against the checkpoint.

    Raises:
        SettingsError: the checkpoint has no size of that name, or does not contain it.
    """
    if isinstance(nested, NestedSize):
        nested.check(config.text)
        return nested
    if not isinstance(nested, str):
        raise SettingsError(f"nested={nested!r}; give the name of a size, or a NestedSize.")
    named = named_sizes(config)
    if nested.lower() in ("small", "e2b") and len(named) == 1:
        logger.info("this checkpoint names no nested sizes, so nested=%s is the full model", nested)
        return FULL_SIZE
    size = named.get(nested.lower())
    if size is None:
        near = difflib.get_close_matches(nested.lower(), named, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise SettingsError(
            f"nested='{nested}', but this checkpoint knows {', '.join(named)}. "
            f"{hint}Layers and widths may also be given one by one."
        )
    size.check(config.text)
    return size


def _is_e4b(text: TextConfig) -> bool:
    return (
        text.num_hidden_layers == _E4B_LAYERS
        and set(text.intermediate_size) == {_E4B_WIDTH}
        and text.num_kv_shared_layers == _E4B_SHARED
    )
