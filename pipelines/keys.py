"""A job's settings class -> its dotted keys: what each one takes, and how a value is typed.

Help and error messages are made from this, so both say the same. No Hydra here.
"""

import difflib
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any

# A word that stands for one setting of its group: `nested=small` is `nested.name=small`.
_SHORT = {
    "model": "model.path",
    "nested": "nested.name",
    "policy": "policy.kind",
    "ple": "ple.placement",
    "executor": "executor.kind",
    "workers": "workers.kind",
    "prompt": "fuse.prompt",
    "task": "fuse.task",
    "language": "fuse.language",
    "to": "fuse.to",
    "limit": "source.limit",
}
_SHORT_ELSE = {"nested": "sizes"}  # where a job compares sizes

_KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    dict: "names with numbers or texts {a: 1}",
}
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*", re.ASCII)
_WORDS_OF_YAML = ("null", "true", "false")


@dataclass(frozen=True)
class Key:
    """One setting."""

    name: str  # dotted: `decode.top_k`
    kind: Any  # str, int, float, bool, dict or an Enum
    many: bool  # a list of `kind`
    optional: bool  # null is a value too
    doc: str

    @property
    def choices(self) -> list[str]:
        """The names that are accepted, where they are few."""
        is_enum = isinstance(self.kind, type) and issubclass(self.kind, Enum)
        return list(self.kind.__members__) if is_enum else []

    @property
    def accepts(self) -> str:
        """What a value may be, as in "... takes a whole number"."""
        one = f"one of {', '.join(self.choices)}" if self.choices else _KINDS[self.kind]
        if self.many:
            one = f"a list [a,b,...], each {one}"
        return f"{one}, or null" if self.optional else one


def keys_of(job: type, prefix: str = "") -> dict[str, Key]:
    """Every setting of a job by its dotted key, groups inside groups included; fixed ones not."""
    hints = typing.get_type_hints(job)
    keys: dict[str, Key] = {}
    for f in fields(job):
        if f.metadata.get("fixed"):
            continue
        name, hint = prefix + f.name, hints[f.name]
        if is_dataclass(hint):
            keys |= keys_of(typing.cast(type, hint), f"{name}.")
            continue
        optional = typing.get_origin(hint) in (typing.Union, types.UnionType)
        if optional:
            (hint,) = (arm for arm in typing.get_args(hint) if arm is not types.NoneType)
        many = typing.get_origin(hint) is list
        kind = typing.get_args(hint)[0] if many else typing.get_origin(hint) or hint
        keys[name] = Key(name, kind, many, optional, f.metadata.get("doc", ""))
    return keys


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """Words that stand for one of these keys, less those that are keys themselves."""
    keys = set(keys)
    words = [*_SHORT_ELSE.items(), *_SHORT.items()]  # of two the later is the one that counts
    return {word: key for word, key in words if key in keys and word not in keys}


def nearest(word: str, names: Iterable[str]) -> str | None:
    """The name that `word` was probably meant to be: alike as a whole, or in its last part."""

    def likeness(name: str) -> tuple[float, float]:
        whole = difflib.SequenceMatcher(None, word, name).ratio()
        leaf = difflib.SequenceMatcher(None, _leaf(word), _leaf(name)).ratio()
        return max(whole, leaf), whole

    best = max(names, key=likeness, default="")
    return best if best and likeness(best)[0] >= 0.6 else None


def _leaf(name: str) -> str:
    return name.rpartition(".")[2]


def typed(value: Any) -> str:
    """A value as it is typed after `key=`, in Hydra's override grammar."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, list):
        return f"[{','.join(typed(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{name}:{typed(item)}' for name, item in value.items())}}}"
    return typed_text(value) if isinstance(value, str) else str(value)


def typed_text(text: str) -> str:
    """A text as it is typed after `key=`: in double quotes unless it reads as itself without."""
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS_OF_YAML and not _is_number(text):
        return text
    # Inside quotes a backslash counts only before a quote: there it and the quote are escaped.
    inside = re.sub(r'(\\*)("|\Z)', lambda m: m[1] * 2 + (r"\"" if m[2] else ""), text)
    return f'"{inside}"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def groups_of(keys: Mapping[str, Key]) -> set[str]:
    """Names of the groups that settings are in."""
    return {name.rpartition(".")[0] for name in keys} - {""}
