"""The YAML of conf/ -> which jobs there are, what a group offers, what a job says of itself."""

import importlib.resources
from typing import Any

from gemma3n.errors import SettingsError
from pipelines.keys import nearest

CONF = "conf"  # the package that holds the YAML


def jobs() -> list[str]:
    """Names of all jobs: one YAML each."""
    return _names(importlib.resources.files(CONF))


def group_choices(group: str) -> list[str]:
    """Names that `group=` takes besides what its own settings take: one YAML each."""
    return _names(importlib.resources.files(CONF) / group)


def _names(folder: Any) -> list[str]:
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(f.name.removesuffix(".yaml") for f in files if f.name.endswith(".yaml"))


def heading(*name: str) -> tuple[str, list[str]]:
    """What the head of a YAML says: its first line, and the example commands below.

    Args:
        name: a job, or a group and its choice.
    """
    file = importlib.resources.files(CONF).joinpath(*name[:-1], f"{name[-1]}.yaml")
    head: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        head.append(line.removeprefix("#").strip())
    return (head or [""])[0], [line for line in head if line.startswith("gemma3n ")]


def known_job(job: str) -> str:
    """`job` itself.

    Raises:
        SettingsError: there is no such job.
    """
    if job in jobs():
        return job
    near = nearest(job, jobs())
    hint = f"Did you mean {near}?" if near else "The job comes first: gemma3n transcribe a.wav ..."
    raise SettingsError(f"'{job}' is not a job; there are {', '.join(jobs())}. {hint}")
