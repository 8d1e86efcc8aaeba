"""What `--help` and `<job> -h` print: examples first, then every setting in a line."""

import shutil
import textwrap
import typing
from collections.abc import Collection, Iterable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from pipelines.catalogue import group_choices, heading, jobs
from pipelines.compose import unused_settings
from pipelines.keys import Key, keys_of, short_names, typed
from pipelines.sweep.experiment import GROUP, for_job

if TYPE_CHECKING:
    from omegaconf import DictConfig

_COLUMN = 26  # where explanations begin
_OPTIONS = {
    "-o DIR": "short for output=DIR",
    "-m": "several values a setting, `nested=full,small`, are a run each, in a table at the end",
    "-j N": "of these, so many at once",
    "-h, --help": "this help; after a job, every setting of the job",
    "--cfg job": "print the composed settings as YAML and stop",
    "--from FILE": "start from config.yaml of an earlier run; words after it win",
    "--version": "which version this is",
    "--": "every word after this is a path",
}


def general_help() -> str:
    """Every job with its examples."""
    lines = [*_fill("Gemma 3n, offline: recordings and pictures in, text out."), ""]
    for job in jobs():
        title, examples = heading(job)
        lines += [*_entry(job, title), *(f"      {example}" for example in examples[:1]), ""]
    lines += [*_usage("<job>"), "", *_fill("`gemma3n <job> -h` lists every setting of a job.")]
    return "\n".join(lines) + "\n"


def job_help(job: str, config: "DictConfig") -> str:
    """One job: examples, then every setting with its default.

    Args:
        job: its name.
        config: its composed defaults.
    """
    from omegaconf import OmegaConf

    schema: Any = OmegaConf.get_type(config)
    defaults: Any = OmegaConf.to_container(config, resolve=True)
    unused = unused_settings(config)
    keys = {n: key for n, key in keys_of(schema).items() if n.partition(".")[0] not in unused}
    title, examples = heading(job)
    lines = [*_fill(title), "", *(f"  {example}" for example in examples), ""]
    lines += [*_usage(job, _unneeded(schema, keys)), "", "Settings and their defaults:"]
    top = (f.name for f in fields(schema) if f.name in keys)
    lines += _settings(keys, top, defaults)
    for name, group in _groups(schema).items():
        if name in unused:
            continue
        lines += ["", *_fill(f"{name}: {_first_line(group)}")]
        lines += _settings(keys, keys_of(group, f"{name}."), defaults)
        for choice in group_choices(name):
            lines += _entry(f"{name}={choice}", heading(name, choice)[0])
        for task, prompts in defaults[name].get("prompts", {}).items():
            lines += _entry(f"task={task}", prompts[-1])
    if experiments := for_job(job):
        lines += ["", *_fill("experiment: settings that differ between runs, each a sweep.")]
        for name, title in experiments.items():
            lines += _entry(f"{GROUP}={name}", title)
    return "\n".join(lines) + "\n"


def _unneeded(schema: Any, keys: Iterable[str]) -> set[str]:
    """Options that mean nothing to a job."""
    from pipelines.settings import SAVED

    means = {
        "-o DIR": "output" in keys,
        "-m": "source.path" in keys,
        "-j N": "source.path" in keys,
        "--from FILE": schema in SAVED,
        "--version": False,
        "--": "source.path" in keys,
    }
    return {option for option, is_needed in means.items() if not is_needed}


def _usage(job: str, unneeded: Collection[str] = ()) -> list[str]:
    """How a command is built."""
    paths = "" if "--" in unneeded else "[paths] "
    lines = _fill(f"Usage: gemma3n {job} {paths}[key=value ...] [options]")
    for option, doc in _OPTIONS.items():
        if option not in unneeded:
            lines += _entry(option, doc)
    return lines


def _groups(schema: Any) -> dict[str, Any]:
    """The groups of a job that have something to set."""
    hints = typing.get_type_hints(schema)
    named = {f.name: hints[f.name] for f in fields(schema)}
    return {name: kind for name, kind in named.items() if is_dataclass(kind) and fields(kind)}


def _first_line(group: Any) -> str:
    return (group.__doc__ or "").strip().splitlines()[0]


def _settings(keys: dict[str, Key], names: Iterable[str], defaults: Any) -> list[str]:
    lines: list[str] = []
    for alike in _alike(names):
        doc, values = _explained(keys, alike[0]), [_default(defaults, name) for name in alike]
        if len(alike) == 1:
            lines += _entry(f"{alike[0]}={values[0]}", doc)
            continue
        above, _, leaf = alike[0].rsplit(".", 2)
        owners = [name.split(".")[-2] for name in alike]
        each = ", ".join(f"{owner} {value}" for owner, value in zip(owners, values, strict=True))
        same = values[0] if len(set(values)) == 1 else ""
        lines += _entry(f"{above}.*.{leaf}={same}", doc if same else f"{doc} ({each})")
    return lines


def _alike(names: Iterable[str]) -> list[list[str]]:
    """Names one by one, but those that siblings have alike, such as all pools, together."""
    families: dict[tuple[str, str], list[str]] = {}
    for name in names:
        *above, owner, leaf = ["", *name.split(".")]
        # Two groups deep: `executor.pools.read.min` has siblings, `decode.seed` has none.
        family = (".".join(above), leaf) if len(above) > 2 else (name, owner)
        families.setdefault(family, []).append(name)
    return list(families.values())


def _default(defaults: Any, name: str) -> str:
    for part in name.split("."):
        defaults = defaults[part]
    return "..." if defaults == "???" else typed(defaults)


def _explained(keys: dict[str, Key], name: str) -> str:
    """The setting's line: its choices where the line does not name them, and its short name."""
    key = keys[name]
    named = all(choice in key.doc for choice in key.choices)
    choices = "" if named else f" ({' | '.join(key.choices)})"
    short = "".join(f" [or {word}=]" for word, full in short_names(keys).items() if full == name)
    return key.doc + choices + short


def _entry(word: str, doc: str) -> list[str]:
    """A word and what it means, side by side; below each other if the word is long."""
    indent = " " * _COLUMN
    if len(word) + 4 <= _COLUMN:
        return _fill(f"  {word:<{_COLUMN - 2}}{doc}", indent)
    return [f"  {word}", *_fill(indent + doc, indent)]


def _fill(text: str, indent: str = "") -> list[str]:
    width = max(shutil.get_terminal_size().columns, _COLUMN + 20)
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
