"""Words of a command line + YAML of conf/ -> one checked settings object, through Hydra.

Every mistake leaves here as a `SettingsError` of one line. Hydra is imported only where something
is composed: it costs more than all of `gemma3n --help`.
"""

import dataclasses
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gemma3n.errors import SettingsError
from pipelines import catalogue
from pipelines.catalogue import group_choices
from pipelines.keys import Key, groups_of, keys_of, short_names, typed_text
from pipelines.mistakes import example, one_line, refusal, unknown

if TYPE_CHECKING:
    from omegaconf import DictConfig

OVERRIDE = re.compile(r"([+~]*)([A-Za-z_][\w.@/-]*)=(.*)", re.DOTALL)
QUOTED = re.compile(r"""'(\\.|[^'\\])*'|"(\\.|[^"\\])*\"""", re.DOTALL)
_FROM = "from_run"  # config group that holds the YAML given with --from


# Words -> overrides


def overrides_of(
    job: str,
    keys: Mapping[str, Key],
    words: Sequence[str],
    paths: Sequence[str] = (),
    output: str | None = None,
) -> tuple[list[str], list[str]]:
    """Sort the words of a command line into Hydra overrides.

    A word of the form `key=value` is a setting, any other is a path. A file whose own name has that
    form is a path if no setting is called so; else the setting is meant, and a warning says so.

    Args:
        job: its name, for messages.
        keys: the settings it has.
        words: as they were typed.
        paths: words after `--`, which are paths whatever they look like.
        output: what was given with -o, a path as well.

    Returns:
        Overrides, and warnings.

    Raises:
        SettingsError: a setting that does not exist, or a path for a job that reads none.
    """
    found: list[str] = []
    overrides: list[str] = []
    warnings: list[str] = []
    names = {*keys, *short_names(keys), *groups_of(keys)}
    for word in words:
        match = OVERRIDE.fullmatch(word)
        # os.path: Path.exists raises on a word longer than a file name may be.
        is_file = os.path.exists(word)  # noqa: PTH110
        if match is None or (is_file and match[2] not in names):
            found.append(word)
            continue
        if is_file:
            warnings.append(f"'{word}' is read as a setting; to name the file write './{word}'.")
        overrides.append(_override(job, keys, match))
    found += paths
    if found and "source.path" not in keys:
        raise SettingsError(
            f"{job} takes settings only (key=value), but '{found[0]}' is a path. "
            f"For example: {example(job)}"
        )
    if found:
        if any(word.startswith("source.path=") for word in overrides):
            raise SettingsError(
                f"'{found[0]}' stands alone, and source.path= is given too. "
                "Put all paths in one of the two."
            )
        overrides.insert(0, f"source.path=[{','.join(typed_path(path) for path in found)}]")
    if output is not None:
        if "output" not in keys:
            raise unknown(job, keys, "output", f"-o {output}")
        if any(word.startswith("output=") for word in overrides):
            raise SettingsError(f"-o {output} and output= are both given. Give one of the two.")
        overrides.append(f"output={typed_path(output)}")
    return overrides, warnings


def typed_path(path: str) -> str:
    """A path as an element of an override list, so that it arrives unchanged."""
    # `${` would be an interpolation, and a bare `???` a value that is missing.
    path = "./???" if path == "???" else path
    return typed_text(_literal(path))


def _literal(text: str) -> str:
    """`text` as OmegaConf must get it to hand back the same: interpolations escaped."""
    return re.sub(r"(\\*)\$\{", lambda m: m[1] * 2 + r"\${", text)


def _override(job: str, keys: Mapping[str, Key], match: re.Match[str]) -> str:
    mark, name, text = match.groups()
    if "~" in mark:
        raise SettingsError(
            f"'{match[0]}' would delete a setting, but {job} needs all of them. "
            f"Give another value: {name}=..."
        )
    is_group = name in groups_of(keys)
    if is_group and (text.startswith("{") or text in group_choices(name)):
        return f"{name}={text}"
    key = keys.get(short_names(keys).get(name, name))
    if key is None:
        raise unknown(job, keys, name, match[0])
    # Names that a map does not have yet must be added to it.
    added = "+" if key.kind is dict and text.startswith("{") else ""
    return f"{added}{key.name}={_value(key, text)}"


def _value(key: Key, text: str) -> str:
    """The text after `=` in Hydra's grammar: as it is, but texts quoted and lists bracketed."""
    if (key.optional and text == "null") or (key.many and text.startswith("[")):
        return text
    if key.kind is str and not QUOTED.fullmatch(text):
        pieces = text.split(",") if key.many else [text]
        text = ",".join(p if QUOTED.fullmatch(p) else typed_text(p) for p in pieces)
    if text in key.choices:
        text = typed_text(text)  # Hydra would take the choices true and false for no texts
    return f"[{text}]" if key.many else text


# Overrides + YAML -> settings


def compose(
    job: str, overrides: Sequence[str] = (), run: Mapping[str, Any] | None = None
) -> "DictConfig":
    """The job's settings: its YAML, then those of an earlier run, then the overrides.

    Raises:
        SettingsError: a value of the wrong type, or an override that cannot be parsed.
    """
    import hydra
    import yaml
    from hydra.core.config_store import ConfigStore
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from pipelines.settings import SCHEMAS

    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name, schema)
    added = []
    if run is not None:
        store.store("yaml", run, group=_FROM, package="_global_")
        added.append(f"+{_FROM}=yaml")
    parser = OverridesParser.create()
    for word in overrides:
        name, _, text = word.partition("=")
        try:
            is_sweep = parser.parse_override(word).is_sweep_override()
        except HydraException as error:
            raise SettingsError(
                f"{word} cannot be read: brackets must pair up, and inside them a text with "
                f"signs other than letters, digits, _ . - / stands in double quotes. "
                f"""For example: '{name}=["a (1).wav",b.wav]'"""
            ) from error
        if is_sweep:
            raise SettingsError(
                f"{word} asks for several runs, but without -m one command is one run. Add -m, or "
                "give one value."
            )
        # A group's YAML is not on the job's defaults list, so it is added to it.
        added.append(f"+{word}" if text in group_choices(name) else word)
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_module(catalogue.CONF, job_name="gemma3n", version_base="1.3"):
            return hydra.compose(job, added)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        if not added:
            raise SettingsError(f"conf/{job}.yaml: {one_line(error)}") from error
        raise refusal(job, keys_of_config(compose(job)), error) from error


def check_used(job: str, config: "DictConfig", overrides: Sequence[str]) -> None:
    """Refuse a setting that would do nothing, because its stage is not on the job's path.

    Raises:
        SettingsError: there is one.
    """
    unused = unused_settings(config)
    for word in overrides:
        group = re.split("[.=]", word.lstrip("+"), maxsplit=1)[0]
        if group in unused:
            raise SettingsError(
                f"{word}: {job} has no stage {group} on its path {list(config.path)}. Leave the "
                "setting out, or put the stage on the path."
            )


def unused_settings(config: "DictConfig") -> set[str]:
    """Groups of settings whose stage is not on the job's path."""
    from omegaconf import OmegaConf

    from pipelines.path import unused_groups
    from pipelines.settings import PathJob

    if OmegaConf.get_type(config) is not PathJob or OmegaConf.is_missing(config, "path"):
        return set()
    return unused_groups(list(config.path))


def keys_of_config(config: "DictConfig") -> dict[str, Key]:
    """Every setting of a composed job."""
    from omegaconf import OmegaConf

    job: Any = OmegaConf.get_type(config)
    return keys_of(job)


def to_settings(job: str, config: "DictConfig") -> Any:
    """The settings object of a composed job.

    Raises:
        SettingsError: a setting that must be given is not, or an interpolation leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    keys = keys_of_config(config)
    try:
        missing = OmegaConf.missing_keys(config)
        if not missing:
            return OmegaConf.to_object(config)
    except OmegaConfBaseException as error:
        raise refusal(job, keys, error) from error
    name = next(name for name in keys if name in missing)
    raise SettingsError(
        f"{name} is not set, and {job} needs it: {keys[name].doc}. For example: {example(job)}"
    )


def read_run(job: str, config: "DictConfig", file: Path) -> dict[str, Any]:
    """The settings of an earlier run, for `--from`.

    Args:
        job: the job that was asked for.
        config: its composed defaults, which say what may be set.
        file: config.yaml of a run folder, or the folder.

    Raises:
        SettingsError: not the config of a run of this job.
    """
    import yaml
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    file = file / "config.yaml" if file.is_dir() else file
    wanted = "Give the config.yaml of a run folder, or the folder."
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"--from {file}: {error.strerror}. {wanted}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"--from {file} is not YAML. {wanted}") from error
    if not isinstance(raw, dict):
        raise SettingsError(f"--from {file} holds no settings (key: value). {wanted}")
    if (was := raw.get("job", job)) != job:
        raise SettingsError(
            f"--from {file} is of a run of '{was}', not of '{job}'. "
            f"Write: gemma3n {was} --from {file}"
        )
    run: dict[str, Any] = _resolved(raw)
    keys = keys_of_config(config)
    for name in groups_of(keys) & run.keys():
        if not isinstance(run[name], dict):
            raise SettingsError(
                f"--from {file}: {unknown(job, keys, name, f'{name}: {run[name]}')}"
            )
    for name, key in keys.items():
        if key.kind is dict:  # which takes names that it does not have yet
            OmegaConf.set_struct(OmegaConf.select(config, name), False)
    try:
        OmegaConf.merge(config, run)
    except OmegaConfBaseException as error:
        raise SettingsError(f"--from {file}: {refusal(job, keys, error)}") from error
    return run


def _resolved(value: Any) -> Any:
    """A value of a run's YAML, which is resolved: nothing in it is an interpolation."""
    if isinstance(value, dict):
        return {str(key): _resolved(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolved(item) for item in value]
    return _literal(value) if isinstance(value, str) else value


def to_yaml(settings: Any) -> str:
    """Settings as `read_run` reads them back: every text stands for itself, `${` included."""
    return _yaml(_plain(dataclasses.asdict(settings)))


def composed_yaml(job: str, config: "DictConfig") -> str:
    """Composed settings as `read_run` reads them back; what must still be given is `???`.

    Raises:
        SettingsError: an interpolation leads nowhere.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    try:
        plain = OmegaConf.to_container(config, resolve=True, enum_to_str=True)
    except OmegaConfBaseException as error:
        raise refusal(job, keys_of_config(config), error) from error
    return _yaml(plain)


def _yaml(plain: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if any(sign in text for sign in "\x85\u2028\u2029"):  # bare line breaks, read back as spaces
        text = yaml.safe_dump(plain, sort_keys=False)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value


def equivalent_line(job: str, words: Sequence[str]) -> str:
    """The command that asks for the same, every setting spelt `key=value`, quoted for a shell."""
    return shlex.join(["gemma3n", job, *words])
