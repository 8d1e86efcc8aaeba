"""What changes the results of a job: by this a run folder knows whether a job may go on in it.

Who runs it, how much at once, where results go and which files there are is not part of it: a run
begun in process may be finished on a cluster, and new files are new work.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gemma3n.checkpoint import bring_weights
from gemma3n.config import Config
from gemma3n.errors import SettingsError
from gemma3n.named import checkpoint_folder
from gemma3n.rounded import rounded
from pipelines.compose import to_yaml
from pipelines.flat import flat
from pipelines.path import unused_groups
from pipelines.settings import PathJob
from stages.model import Load
from stages.write import replacing

FINGERPRINT = "fingerprint.json"

# Settings that change no result, or that stand in it in another way.
_LEFT_OUT = (
    *("job", "output", "fresh", "retry_failed", "device", "compile"),
    *("source.path", "source.recursive", "source.limit"),
    *("decode.groups", "adapter", "degrade"),
)
_GROUPS_LEFT_OUT = ("executor", "sink", "ple", "model", "nested", "policy", "precision", "pack")
_COMPANIONS = ("config.json", "adapter_config.json", "preprocessor_config.json", "tokenizer.model")
_SAMPLES, _SAMPLE = 32, 4096  # places in a file of weights that are looked at, and their bytes


def fingerprint(job: PathJob, load: Load) -> dict[str, Any]:
    """What changes results, by the name of its setting.

    Args:
        job: what is asked, of which checkpoint.
        load: its model; weights on the hub are brought first.
    """
    import yaml

    bring_weights(load.folder, load.parts)
    # Rows as the checkpoint has them are the same wherever they are.
    quantised = {"ple.bits": job.ple.bits} if job.ple.bits < 16 else {}
    adapted = {"adapter": checkpoint_digest(Path(load.adapter))} if load.adapter else {}
    left_out = {*_GROUPS_LEFT_OUT, *unused_groups(job.path)}
    settings = {
        name: value
        for name, value in flat(yaml.safe_load(to_yaml(job))).items()
        if name not in _LEFT_OUT and name.partition(".")[0] not in left_out
    }
    return {
        "checkpoint": checkpoint_digest(checkpoint_folder(load.folder)),
        "nested": json.loads(json.dumps(asdict(load.nested))),
        "nested.budget_gb": load.budget_gb,
        "precision": settled_precision(load),
        **job.policy.told(),
        **quantised,
        **adapted,
        **settings,
    }


def settled_precision(load: Load) -> str:
    """The precision of a load on this machine, where it may be `auto`."""
    from gemma3n.device import resolve_device, resolve_formats

    own = rounded(Config.from_folder(checkpoint_folder(load.folder)))
    # Never packed here: that changes no more than the order in which numbers are added.
    return resolve_formats(
        load.precision, resolve_device(load.device), False, own.weights if own else None
    ).weights.value


def digest(value: Any) -> str:
    """Eight hexadecimal digits of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]


def checkpoint_digest(folder: Path) -> str:
    """A checkpoint by its content: small files whole, of weights their sizes and some places.

    To read all of 10 GB would take longer than many a job.
    """
    sums = hashlib.sha256()
    for name in _COMPANIONS:
        if (folder / name).is_file():
            sums.update(name.encode() + (folder / name).read_bytes())
    for path in sorted(folder.glob("*.safetensors")):
        size = path.stat().st_size
        sums.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            sums.update(file.read(min(header, size)))  # every tensor's name, type and shape
            for place in range(_SAMPLES):
                file.seek(place * size // _SAMPLES)
                sums.update(file.read(_SAMPLE))
    return sums.hexdigest()[:16]


def check_same(folder: Path, now: Mapping[str, Any]) -> None:
    """Refuse to go on in a folder with a job that would give other results.

    Raises:
        SettingsError: it would, or nobody knows.
    """
    path = folder / FINGERPRINT
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    fix = "Choose another folder, or give fresh=true, which deletes what a run wrote there."
    if not isinstance(before, dict):
        raise SettingsError(
            f"output '{folder}' holds results, and no readable {FINGERPRINT} says of what. {fix}"
        )
    changed = [
        "{} was {} and is {}".format(name, *_worded(before.get(name), now.get(name)))
        for name in dict.fromkeys([*before, *now])
        if before.get(name) != now.get(name)
    ]
    if changed:
        raise SettingsError(
            f"output '{folder}' holds results of something else: {'; '.join(changed)}. {fix}"
        )


def _worded(before: Any, now: Any) -> tuple[str, str]:
    """Two values as people know them: sizes by their names, if these tell them apart."""
    names = [value.get("name") if isinstance(value, Mapping) else None for value in (before, now)]
    if all(names) and names[0] != names[1]:
        return str(names[0]), str(names[1])
    return json.dumps(before), json.dumps(now)


def write_fingerprint(folder: Path, now: Mapping[str, Any]) -> None:
    """Keep it in the run folder."""
    with replacing(folder / FINGERPRINT) as file:
        file.write((json.dumps(now, indent=2) + "\n").encode())
