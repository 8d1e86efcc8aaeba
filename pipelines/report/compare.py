"""Several runs -> in what they differ, and which of them no other one beats."""

from collections.abc import Sequence
from typing import Any

from pipelines.keys import short_names, typed
from pipelines.report.run import Run

# What runs of the same work differ in by themselves, or what stands in another way.
_OWN = ("output", "fresh", "retry_failed", "job")
_SETTLED = "precision (settled)"  # what `auto` came to
_UNNAMED = ("checkpoint", _SETTLED)  # that say nothing in the name of a run
_SHORT = 60  # characters of a value


def differences(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Settings that differ, by name: the value of each run, as it is typed."""
    all_settings = [_compared(run) for run in runs]
    names = dict.fromkeys(name for settings in all_settings for name in settings)
    words = {name: word for word, name in short_names(names).items()}
    found: dict[str, list[str]] = {}
    for name in names:
        values = [_short(settings.get(name)) for settings in all_settings]
        if len(set(values)) > 1:
            found[words.get(name, name)] = values
    return found


def labels(runs: Sequence[Run], differing: dict[str, list[str]], most: int = 3) -> list[str]:
    """A name for each run: what it is set to where others are set otherwise; else its folder."""
    names = [name for name in differing if name not in _UNNAMED][:most]
    found = [
        "  ".join(f"{name.rpartition('.')[2]}={differing[name][n]}" for name in names)
        for n in range(len(runs))
    ]
    if len(set(found)) == len(runs) and all(found):
        return found
    return [run.name if run.name != "." else run.folder.resolve().name for run in runs]


def pareto(points: Sequence[tuple[float, ...]]) -> list[bool]:
    """Of each point, whether no other one is as good in all, and better in something.

    Args:
        points: how good each is, in several ways; more is better.
    """
    return [
        not any(
            other != point and all(a >= b for a, b in zip(other, point, strict=True))
            for other in points
        )
        for point in points
    ]


def _compared(run: Run) -> dict[str, Any]:
    prints = run.fingerprint
    settled = {"checkpoint": prints.get("checkpoint"), _SETTLED: prints.get("precision")}
    own = {name: value for name, value in run.settings.items() if name not in _OWN}
    if own.get("precision") != "auto":
        del settled[_SETTLED]  # says the same
    return own | settled


def _short(value: Any) -> str:
    text = typed(value)
    return text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}\u2026"
