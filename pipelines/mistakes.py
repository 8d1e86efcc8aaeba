"""What was wrong with a command line or a config -> one line that says so and how to right it."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.catalogue import group_choices, heading
from pipelines.keys import Key, groups_of, nearest, short_names, typed


def example(job: str) -> str:
    return next(iter(heading(job)[1]), f"gemma3n {job} -h")


def unknown(job: str, keys: Mapping[str, Key], name: str, word: str) -> SettingsError:
    """`name` is not a setting, or not one that takes a value."""
    if name in groups_of(keys):
        inside = " or ".join(f"{key}=" for key in keys if key.startswith(f"{name}."))
        yaml = "".join(f" or {name}={choice}" for choice in group_choices(name))
        return SettingsError(f"'{word}': {name} is a group of settings. Write {inside}{yaml}.")
    near = nearest(name, [*keys, *short_names(keys)])
    hint = f"Did you mean {near}? " if near else ""
    return SettingsError(
        f"'{word}': {job} has no setting {name}. {hint}`gemma3n {job} -h` lists what it has."
    )


def refusal(job: str, keys: Mapping[str, Key], error: BaseException) -> SettingsError:
    """What Hydra or OmegaConf raised, in one line of ours."""
    from omegaconf.errors import ConfigAttributeError, ConfigKeyError, ValidationError

    cause: Any = next((c for c in _causes(error) if getattr(c, "full_key", None)), None)
    if cause is None:
        return SettingsError(f"{job}: {one_line(error)}")
    name = re.sub(r"\[\d+\]", "", cause.full_key)
    if isinstance(cause, ConfigKeyError | ConfigAttributeError):
        return unknown(job, keys, name, name)
    if isinstance(cause, ValidationError):
        came = f"{name}={typed(cause.value)}"
        owner = name if name in keys else name.rpartition(".")[0]  # of what is in a map
        return _wrong_value(keys[owner], came) if owner in keys else unknown(job, keys, name, came)
    return SettingsError(
        f"{name}: {str(cause).splitlines()[0]}. In a text, ${{name}} is the value of another "
        r"setting; write \${ for the signs themselves."
    )


def refused_elsewhere(trace: str) -> str | None:
    """What a SettingsError said in another process, from its traceback; None if it was no such."""
    last = (trace.strip().splitlines() or [""])[-1]
    name = f"{SettingsError.__module__}.{SettingsError.__qualname__}: "
    return last.removeprefix(name) if last.startswith(name) else None


def one_line(error: BaseException) -> str:
    """What an exception says, its line breaks taken out."""
    return " ".join(str(error).split())


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _wrong_value(key: Key, came: str) -> SettingsError:
    from pipelines.settings import REFUSED

    if came in REFUSED:
        return SettingsError(f"{came}: {REFUSED[came]}")
    near = nearest(came.partition("=")[2].lower(), key.choices)
    hint = f"Did you mean {key.name}={near}?" if near else f"{key.name} is: {key.doc}."
    return SettingsError(f"{came}, but it takes {key.accepts}. {hint}")
