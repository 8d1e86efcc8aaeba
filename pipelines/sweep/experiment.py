"""A YAML of conf/experiment, or one of your own -> settings, some of them with several values.

`jobs` says which jobs it is for, `sweep` which settings differ between runs, as a list or in
Hydra's words; anything else is settings that all runs share.
"""

import importlib.resources
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gemma3n.errors import SettingsError
from pipelines import catalogue
from pipelines.catalogue import group_choices, heading
from pipelines.flat import flat
from pipelines.keys import Key, nearest, typed
from pipelines.sweep.axes import Values, listed, sort_words

GROUP = "experiment"
_FORM = (
    "An experiment is a YAML with sweep: {setting: [value, value]}; jobs: [transcribe] says whose "
    "it is, and all else is settings as a job has them."
)


@dataclass(frozen=True)
class Experiment:
    """What a YAML says."""

    name: str
    jobs: list[str]  # it is for; of none named, for all that can be swept
    sweep: dict[str, Any]
    shared: dict[str, Any]


def named(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """The experiment that words name, and the others.

    Raises:
        SettingsError: they name two.
    """
    marks = tuple(f"{mark}{GROUP}=" for mark in ("", "+", "++"))
    found = [word for word in words if word.startswith(marks)]
    if len(found) > 1:
        raise SettingsError(f"{' and '.join(found)} are both given. Give one of them.")
    names = [word.partition("=")[2] for word in found]
    return next(iter(names), None), [word for word in words if word not in found]


def for_job(job: str) -> dict[str, str]:
    """The experiments that a job can run, each with the line that says what it is."""
    fitting = (name for name in group_choices(GROUP) if job in read_experiment(name).jobs)
    return {name: heading(GROUP, name)[0] for name in fitting}


def read_experiment(name: str) -> Experiment:
    """One of conf/experiment by its name, or the YAML of a path.

    Raises:
        SettingsError: there is none, or it is not of the form.
    """
    import yaml

    known = group_choices(GROUP)
    file: Any = Path(name)
    if name in known:
        file = importlib.resources.files(catalogue.CONF) / GROUP / f"{name}.yaml"
    elif not name.endswith((".yaml", ".yml")):
        near = nearest(name, known)
        hint = f"Did you mean {near}? " if near else ""
        raise SettingsError(
            f"{GROUP}={name}; there are {', '.join(known)}. {hint}Or give the path of a YAML of "
            "your own."
        )
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{GROUP}={name}: {error.strerror}. {_FORM}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{GROUP}={name} is not YAML. {_FORM}") from error
    sweep = raw.pop("sweep", {}) if isinstance(raw, dict) else None
    jobs = raw.pop("jobs", []) if isinstance(raw, dict) else []
    if not isinstance(sweep, dict) or not sweep or not isinstance(jobs, list):
        raise SettingsError(f"{GROUP}={name} says nothing to sweep. {_FORM}")
    return Experiment(name, jobs, sweep, raw)


def settings_of(experiment: Experiment, job: str, keys: Mapping[str, Key]) -> dict[str, Values]:
    """What the experiment sets, by the whole name of each setting.

    Raises:
        SettingsError: it is for other jobs.
    """
    if experiment.jobs and job not in experiment.jobs:
        raise SettingsError(
            f"{GROUP}={experiment.name} is for {', '.join(experiment.jobs)}, not for {job}. "
            f"Write: gemma3n {experiment.jobs[0]} ... {GROUP}={experiment.name}"
        )
    shared = [f"{name}={typed(value)}" for name, value in flat(experiment.shared).items()]
    found = sort_words(keys, shared, {}, many=False)
    swept: dict[str, Values] = {}
    others = list(found.others)
    for name, values in flat(experiment.sweep).items():
        if isinstance(values, list):
            swept |= listed(keys, name, [typed(value) for value in values])
        else:
            text = values if isinstance(values, str) else typed(values)
            words = sort_words(keys, [f"{name}={text}"], {}, many=True)
            swept |= words.settings
            others += words.others
    if others:  # settings that the job does not have: the check of a run's words says so
        swept |= {word: Values(word, [word]) for word in others}
    return found.settings | swept
