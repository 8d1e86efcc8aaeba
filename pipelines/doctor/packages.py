"""Which packages that jobs need are here, and which extras."""

import importlib.metadata
import re
from collections.abc import Iterable

from packaging.requirements import Requirement

from pipelines.doctor.finding import Finding, broken, note, ok

GROUP = "packages"
NAME = "gemma3n-pipelines"
_NOT_FOR_USERS = ("dev",)
_FOR = {
    "train": "training",
    "eval": "evaluation",
    "lm-eval": "tasks of lm-eval",
    "bench": "benches beside other programs",
    "report": "the page of runs",
    "energy": "joules",
    "hub": "checkpoints from Hugging Face",
    "video": "films and m4a",
    "remote": "sources by URL",
    "nano": "making nano's data",
}


def look_at_packages() -> list[Finding]:
    """The package itself, Ray, and each extra."""
    try:
        needs = [Requirement(line) for line in importlib.metadata.requires(NAME) or []]
    except importlib.metadata.PackageNotFoundError:
        fix = "pip install . in its folder"
        return [note(GROUP, NAME, "runs from its source, so what it needs is not known", fix)]
    return [core(needs), _ray(), *extras(needs)]


def core(needs: Iterable[Requirement]) -> Finding:
    """What no job does without."""
    lacks = _lacking(
        one for one in needs if one.marker is None or one.marker.evaluate({"extra": ""})
    )
    if lacks:
        fix = f"pip install {' '.join(repr(line) for line in lacks)}"
        return broken(GROUP, NAME, f"lacks {', '.join(lacks)}", fix)
    return ok(GROUP, NAME, f"{importlib.metadata.version(NAME)}, with all that it needs")


def extras(needs: Iterable[Requirement]) -> list[Finding]:
    """Each extra: here, or how it gets here."""
    needs = list(needs)
    names = {
        name: None
        for one in needs
        if one.marker is not None
        for name in re.findall(r"""extra == ["']([^"']+)["']""", str(one.marker))
        if name not in _NOT_FOR_USERS
    }
    found = []
    for name in names:
        lacks = _lacking(one for one in needs if one.marker is not None and _is_of(one, name))
        what = f"[{name}]"
        use = f" for {_FOR[name]}" if name in _FOR else ""
        if lacks:
            said = f"not here, or too old{use}: {', '.join(lacks)}"
            found.append(note(GROUP, what, said, f"pip install '{NAME}[{name}]'"))
        else:
            found.append(ok(GROUP, what, f"here{use}"))
    return found


def _is_of(need: Requirement, extra: str) -> bool:
    marker = need.marker
    assert marker is not None
    return marker.evaluate({"extra": extra}) and not marker.evaluate({"extra": ""})


def _lacking(needs: Iterable[Requirement]) -> list[str]:
    """Those that are not installed, or in a version that will not do."""
    lacks = []
    for one in needs:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            version = None
        if version is None or not one.specifier.contains(version, prereleases=True):
            lacks.append(f"{one.name}{one.specifier}")
    return lacks


def _ray() -> Finding:
    try:
        import ray
    except Exception as error:  # whatever is wrong with it, the rest is worth knowing
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        fix = "pip install 'ray[data]'; without it executor=in_process works"
        return note(GROUP, "Ray", f"cannot be imported: {reason}", fix)
    return ok(GROUP, "Ray", f"{ray.__version__}, for executor=ray")
