"""Contenders on the same work: each in a process of its own, in turns; medians, and ratios of ours.

The machine's memory is read in every round, as a limit; what a contender computed is compared with
what ours did, and those that did other work are refused.
"""

import json
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from gemma3n.errors import SettingsError
from pipelines.bench.decode import run_apart
from pipelines.bench.peers_env import run_peer

LIMIT = "memory read, GB/s"
_COSINE = "cosine to ours"


@dataclass(frozen=True)
class Contender:
    """One of those who do the same work."""

    name: str
    module: str  # what runs it
    wanted: Mapping[str, Any]  # what it is told beside the work
    python: Path | None = None  # the peers' interpreter; None is ours
    against: tuple[str, ...] = ()  # for ours: the contenders it is compared with


@dataclass
class Contest:
    """What the contenders took, round by round."""

    title: str
    asked: dict[str, Any]
    limits: list[float] = field(default_factory=list)  # GB/s of memory, a round each
    runs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # by contender
    pairs: list[tuple[str, str]] = field(default_factory=list)  # ours, and whom it is against
    read: dict[str, int] = field(default_factory=dict)  # bytes that a token of one row reads

    def document(self) -> str:
        """All of it, as JSON."""
        found = {"asked": self.asked, LIMIT: self.limits, "runs": self.runs}
        return json.dumps(found | {"ratios": self.ratios()}, indent=2) + "\n"

    def ratios(self) -> dict[str, dict[str, float]]:
        """Ours to its peer, by what was measured: medians of the rounds' ratios."""
        found: dict[str, dict[str, float]] = {}
        for ours, theirs in self.pairs:
            rounds = list(zip(self.runs[ours], self.runs[theirs], strict=True))
            shared = [what for what in rounds[0][0] if what in rounds[0][1] and what != _COSINE]
            found[f"{ours} to {theirs}"] = {
                what: statistics.median(mine[what] / other[what] for mine, other in rounds)
                for what in shared
            }
        for name, size in self.read.items():
            what = "1 rows, tokens/s"
            shares = [
                run[what] * size / 1e9 / limit
                for run, limit in zip(self.runs[name], self.limits, strict=True)
                if what in run
            ]
            if shares:
                found[f"{name} to the limit of memory"] = {what: statistics.median(shares)}
        return found

    def table(self) -> Table:
        """A line a contender, then one a ratio."""
        table = Table(title=self.title, box=SIMPLE_HEAD, title_justify="left")
        first = next(iter(self.runs.values()))[0]
        table.add_column("median (lowest to highest)")
        for what in first:
            table.add_column(what, justify="right")
        for name, runs in self.runs.items():
            table.add_row(name, *(_spread([run.get(what) for run in runs]) for what in first))
        table.add_section()
        for name, ratios in self.ratios().items():
            cells = [f"{ratios[what]:.2f}" if what in ratios else "" for what in first]
            table.add_row(name, *cells)
        limit = statistics.median(self.limits)
        table.caption = f"memory read in the same rounds: {limit:.0f} GB/s"
        return table


def hold(
    contest: Contest,
    contenders: Sequence[Contender],
    work: Mapping[str, Any],
    repeat: int,
    alike: float,
) -> Contest:
    """Let all do the work, in another order each round.

    Args:
        contest: to fill.
        contenders: ours, which the others' results are compared with, first.
        work: what all are told.
        repeat: rounds.
        alike: cosine to ours below which it is other work.

    Raises:
        SettingsError: a contender failed, or computed something else.
    """
    import numpy as np

    contest.pairs = [(one.name, other) for one in contenders for other in one.against]
    contest.runs = {one.name: [] for one in contenders}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeat):
            contest.limits.append(_limit())
            given: dict[str, Any] = {}
            shift = turn % len(contenders)
            for one in [*contenders[shift:], *contenders[:shift]]:
                output = Path(folder) / f"{len(given)}.npy"
                wanted = {**work, **one.wanted, "output": str(output)}
                contest.runs[one.name].append(_run(one, wanted))
                given[one.name] = np.load(output).ravel()
            ours = given[contenders[0].name]
            for name, theirs in given.items():
                cosine = _cosine(ours, theirs)
                contest.runs[name][-1][_COSINE] = cosine
                if cosine < alike:
                    raise SettingsError(
                        f"{name} computes something else than {contenders[0].name}: the cosine of "
                        f"their outputs is {cosine:.3f}, and {alike:g} is the least. Give all the "
                        "same weights; files kept in peers_files may be of others."
                    )
    return contest


def _limit() -> float:
    found: float = run_apart("pipelines.bench.limit", {})[LIMIT]
    return found


def _run(one: Contender, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """What a contender says that it took."""
    if one.python is None:
        return run_apart(one.module, wanted)
    return run_peer(one.python, one.module, wanted)


def _cosine(ours: Any, theirs: Any) -> float:
    import numpy as np

    if ours.shape != theirs.shape:
        return 0.0
    return float(ours @ theirs / (np.linalg.norm(ours) * np.linalg.norm(theirs)))


def _spread(values: Sequence[float | int | None]) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return ""
    if isinstance(there[0], int):
        return f"{statistics.median(there) / 1e9:.2f} GB"
    middle = statistics.median(there)
    if len(there) == 1:
        return f"{middle:.4g}"
    return f"{middle:.4g} ({min(there):.4g} to {max(there):.4g})"
