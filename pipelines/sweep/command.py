"""`gemma3n <job> -m ...`, or with `experiment=`: a command line -> a sweep, run."""

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.compose import to_yaml
from pipelines.exit_code import DONE
from pipelines.keys import Key
from pipelines.sweep.axes import Words, sort_words
from pipelines.sweep.experiment import GROUP, named, read_experiment, settings_of
from pipelines.sweep.runs import Run, composed_runs, sweep_folder


@dataclass(frozen=True)
class Line:
    """A command line that was taken apart."""

    job: str
    words: list[str]  # settings and paths
    paths: list[str]  # words after `--`
    options: Mapping[str, str]
    run: Mapping[str, Any] | None = None  # the settings that --from names


def run_line(line: Line, keys: Mapping[str, Key]) -> int:
    """Run the sweep that a command line asks for.

    Args:
        line: it, taken apart.
        keys: the settings of its job.

    Returns:
        The exit code.

    Raises:
        SettingsError: it asks for what cannot be; nothing has run then.
    """
    words, runs, warnings = planned(line, keys)
    for warning in warnings:
        sys.stderr.write(f"gemma3n: {warning}\n")
    if "--cfg" in line.options:
        for run in runs:
            sys.stdout.write(f"--- # {run.name}\n{to_yaml(run.settings)}")
        return DONE
    parallel, folder = _parallel(line.options), _folder(line, words, runs)

    from pipelines.sweep.sweep import Sweep, run_sweep

    return run_sweep(
        Sweep(
            line.job,
            _as_typed(line),
            {one.name: [one.text(word) for word in one.words] for one in words.axes.values()},
            runs,
            ["--from", line.options["--from"]] if "--from" in line.options else [],
            parallel,
        ),
        folder,
    )


def planned(line: Line, keys: Mapping[str, Key]) -> tuple[Words, list[Run], list[str]]:
    """What a command line asks for: its settings, its runs, and warnings.

    Raises:
        SettingsError: it asks for what cannot be.
    """
    if not {"source.path", "model.path"} <= keys.keys():
        raise SettingsError(
            f"{line.job} has no sweep: runs of one are jobs that send a source along a path, such "
            "as transcribe and evaluate. Give one value a setting, and no -m."
        )
    name, typed = named(line.words)
    before = {} if name is None else settings_of(read_experiment(name), line.job, keys)
    words = sort_words(keys, typed, before, many="--multirun" in line.options)
    given = [f"{GROUP}={name}"] if name is not None and not words.axes else []
    if given:
        raise SettingsError(
            f"{given[0]}: every setting that it sweeps has one value on this command line, so "
            "there is nothing to compare. Leave one of them out."
        )
    without = Words({n: one for n, one in words.settings.items() if n != "output"}, words.others)
    if "output" in words.axes:
        raise SettingsError(
            f"{' '.join(words.axes['output'].words)}: a sweep has one folder, and in it one for "
            "each run. Give one: -o out/"
        )
    runs, warnings = composed_runs(line.job, keys, without, line.paths, line.run)
    if not all(run.settings.source.path for run in runs):
        raise SettingsError(
            f"{line.job} without source.path has no sweep: tasks of lm-eval and compare= are run "
            "one by one. Leave out -m."
        )
    return words, runs, warnings


def _folder(line: Line, words: Words, runs: list[Run]) -> Path:
    """That was asked for, or one of the sweep's own."""
    short, long = line.options.get("-o"), words.settings.get("output")
    if short is not None and long is not None:
        raise SettingsError(f"-o {short} and output= are both given. Give one of the two.")
    output = long.text(long.words[0]) if long is not None else short
    if output in (None, "null"):
        return sweep_folder(line.job, words, runs)
    assert output is not None
    if "${" in output:
        raise SettingsError(
            f"output={output}: a sweep has one folder, and names those of its runs by what differs "
            "between them. Give one without ${...}: -o out/"
        )
    return Path(output)


def _parallel(options: Mapping[str, str]) -> int:
    text = options.get("--parallel", "1")
    if not text.isdigit() or int(text) < 1:
        raise SettingsError(f"--parallel {text}; it is how many runs at once, 1 or more.")
    return int(text)


def _as_typed(line: Line) -> str:
    """The command line again, quoted for a shell."""
    options = [
        *(["-m"] if "--multirun" in line.options else []),
        *(["-o", line.options["-o"]] if "-o" in line.options else []),
        *(["--from", line.options["--from"]] if "--from" in line.options else []),
    ]
    after = ["--", *line.paths] if line.paths else []
    return shlex.join(["gemma3n", line.job, *line.words, *options, *after])
