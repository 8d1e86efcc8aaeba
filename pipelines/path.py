"""The path: stage names -> classes, checked before anything heavy is loaded, and built."""

import typing
from dataclasses import fields, replace
from importlib.metadata import entry_points
from itertools import chain
from pathlib import Path
from typing import Any

from gemma3n.chat import Mark, parse_template
from gemma3n.config import Config
from gemma3n.errors import InputError, SettingsError
from pipelines.keys import nearest
from pipelines.nested import small_load
from pipelines.settings import PathJob, PolicyKind
from stages.fuse import FuseSettings
from stages.languages import language_name
from stages.manifest import is_manifest
from stages.model import Load
from stages.prompts import DEFAULT_TASK, first_filled, places_in
from stages.read import READ_AS
from stages.row import HEAVY, Columns, Row, Stage

STAGES = ("read", "mel", "resize", "encode", "fuse", "decode", "write")
MODEL_STAGES = ("encode", "fuse", "decode")  # those that compute with it
PLUGINS = "gemma3n_pipelines.stages"  # entry-point group of stages in other packages


def stage_class(name: str) -> type[Stage]:
    """The stage of a name: one of ours, or one that an installed package brings.

    Raises:
        SettingsError: nobody has a stage of that name.
    """
    match name:
        case "read":
            from stages.read import Read

            return Read
        case "mel":
            from stages.mel import Mel

            return Mel
        case "resize":
            from stages.resize import Resize

            return Resize
        case "encode":
            from stages.encode import Encode

            return Encode
        case "fuse":
            from stages.fuse import Fuse

            return Fuse
        case "decode":
            from stages.decode import Decode

            return Decode
        case "write":
            from stages.write import Write

            return Write
    others = {entry.name: entry for entry in entry_points(group=PLUGINS)}
    if name in others:
        plugin: type[Stage] = others[name].load()
        return plugin
    known = [*STAGES, *others]
    likely = nearest(name, known)
    hint = f"Did you mean '{likely}'?" if likely else "Put one of those there."
    raise SettingsError(f"path names a stage '{name}'; known are {', '.join(known)}. {hint}")


def settings_of(job: PathJob, stage: type[Stage]) -> Any:
    """The job's settings of a stage; the defaults of one that the job has no group for."""
    groups = (getattr(job, field.name) for field in fields(job))
    own = [group for group in groups if type(group) is stage.settings_type]
    return own[0] if own else stage.settings_type()


def build_stage(name: str, job: PathJob, load: Load, folder: Path) -> Stage:
    """Make a stage, on the machine that will run it.

    Args:
        name: as in `job.path`.
        job: whose settings it gets.
        load: the model.
        folder: of the run, where `write` puts results.
    """
    if name == "write":
        from stages.write import Write

        return Write(job.sink, load, folder)
    if name == "resize":
        from stages.resize import Resize

        return Resize(job.resize, load, job.fuse.task)
    if name == "decode":
        from stages.decode import Decode

        return Decode(job.decode, load, job.policy.policy(), _draft_load(job, load))
    stage = stage_class(name)
    return stage(settings_of(job, stage), load)


def _draft_load(job: PathJob, load: Load) -> Load | None:
    """How the size that drafts is loaded, if not with the one that it drafts for."""
    precision = job.policy.draft_precision
    if job.policy.kind is not PolicyKind.speculative or precision is None:
        return None
    small = small_load(job.policy, load)
    return replace(small, parts=("text",), precision=precision.value)


def check_path(job: PathJob) -> None:
    """See whether every stage gets the columns it reads. Loads no weights and no torch.

    Raises:
        SettingsError: an unknown stage, `read` not first or `write` not last, a stage that lacks
            a column, or media that are read for nobody.
    """
    path = job.path
    stages = {name: stage_class(name) for name in path}
    if len(stages) < len(path) or path[:1] != ["read"] or path[-1:] != ["write"]:
        raise SettingsError(
            f"path is {path}; it begins with 'read', ends with 'write' and names each stage once. "
            "Put its stages in that order."
        )
    there: dict[str, str] = {}  # column -> the stage that added it
    for name, stage in stages.items():
        columns = stage.columns(settings_of(job, stage))
        _check_reads(stage, columns, there)
        there = {column: by for column, by in there.items() if column not in columns.drops}
        there |= dict.fromkeys(columns.adds, name)
    for column, adder in there.items():
        if column in HEAVY:
            raise SettingsError(
                f"'{adder}' adds {column}, but nothing after it on {path} uses them. "
                f"Put {_ours([column], 'reads', 'takes')} after {adder}.{_about_media([column])}"
            )


def check_prompt(job: PathJob) -> None:
    """See whether what the job asks can be asked of any row.

    Raises:
        SettingsError: there is no prompt and no manifest that could bring one, its marks are not
            those of the media that a row can have, no such task, or a language that is asked for
            and goes nowhere, or the other way round.
    """
    if "fuse" not in job.path:
        return
    _check_task(job.fuse)
    templates, kinds = job.fuse.templates(), [kind.value for kind in job.source.media]
    for prompt in templates:
        for mark in _marks(prompt):
            if mark.name.lower() not in kinds:
                raise SettingsError(
                    f"the prompt {prompt!r} has {mark.value}, but the job reads "
                    f"{' and '.join(kinds) or 'no files'} (source.media). Leave the mark out."
                )
    if any(is_manifest(path) for path in job.source.path):
        _check_languages(job, [*templates, *chain.from_iterable(job.fuse.prompts.values())])
        return
    if not templates:
        raise SettingsError(
            f"there is no prompt for {job.source.path}. "
            'Set prompt="...", or give a manifest (.jsonl) whose lines have a "prompt".'
        )
    for prompt in templates:
        if (count := len(_marks(prompt))) > 1:
            raise SettingsError(
                f"the prompt {prompt!r} has {count} marks, but a file is a row of its own: one "
                "clip or one image. Leave one mark, or name several files a row in a manifest "
                "(.jsonl)."
            )
    _check_languages(job, templates)
    try:
        first_filled(templates, {"language": job.fuse.language, "to": job.fuse.to})
    except InputError as error:
        raise SettingsError(str(error)) from error


def _marks(prompt: str) -> list[Mark]:
    return [part for part in parse_template(prompt) if isinstance(part, Mark)]


def _check_task(fuse: FuseSettings) -> None:
    if fuse.task in {DEFAULT_TASK, *fuse.prompts}:
        return
    near = nearest(fuse.task, fuse.prompts)
    raise SettingsError(
        f"task={fuse.task}, but this job's are {', '.join(fuse.prompts) or 'none'}. "
        f"{f'Did you mean task={near}?' if near else 'The job generate has all.'}"
    )


def _check_languages(job: PathJob, prompts: list[str]) -> None:
    """Refuse a language that none of the prompts has a place for."""
    default, places = FuseSettings(), places_in(prompts)
    for name in ("language", "to"):
        value = getattr(job.fuse, name)
        if value != getattr(default, name) and name not in places:
            raise SettingsError(
                f"{name}={value}, but nothing that {job.job} asks has {{{name}}}: {prompts}. Put "
                f"it in a prompt, prompt='... {{{name}}} ...', or use the job that has it: "
                "transcribe (language) or translate (language, to)."
            )


def language_note(job: PathJob) -> str | None:
    """What who asks about languages should know of a checkpoint that has only one."""
    asks = job.fuse.language is not None or "to" in places_in(job.fuse.templates())
    if "fuse" not in job.path or not asks:
        return None
    language = Config.from_folder(job.model.folder).only_language
    if language is None or {job.fuse.language, job.fuse.to} == {language_name(language)}:
        return None
    return (
        f"{job.model.path} knows only {language_name(language)}: what it says of another language "
        "will be wrong. Name another checkpoint, as in model=google/gemma-3n-E2B-it."
    )


def unused_groups(path: list[str]) -> set[str]:
    """Groups of settings that no stage on the path reads; stages that share a group count."""
    kinds = typing.get_type_hints(PathJob)
    ours = {name: stage_class(name).settings_type for name in STAGES}
    used = {stage_class(name).settings_type for name in path}
    return {
        field.name
        for field in fields(PathJob)
        if kinds[field.name] in ours.values() and kinds[field.name] not in used
    }


def _check_reads(stage: type[Stage], columns: Columns, there: dict[str, str]) -> None:
    missing = [column for column in columns.reads if column not in there]
    if not columns.reads and not any(column in there for column in columns.takes):
        missing = list(columns.takes)
    if missing:
        in_order = [column for column in Row.__annotations__ if column in there]
        raise SettingsError(
            f"{stage.__name__} reads {missing}, but rows reach it with {in_order}. Put the stage "
            f"that adds it earlier on the path: {_ours(missing, 'adds')}.{_about_media(missing)}"
        )


def _ours(columns: list[str], *ends: str) -> str:
    """Our stages that add the columns, or use them."""
    names = []
    for name in STAGES:
        stage = stage_class(name)
        all_columns = stage.columns(stage.settings_type())
        if any(column in getattr(all_columns, end) for column in columns for end in ends):
            names.append(name)
    return " or ".join(names) or "one of a package that is not installed"


def _about_media(columns: list[str]) -> str:
    read = any(column in columns for column in READ_AS.values())
    return " source.media says which media are read." if read else ""
