"""What an evaluation found -> tables for a terminal."""

from collections.abc import Iterable, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from pipelines.console import console
from pipelines.score_files import SLICED, Cell, Scores
from pipelines.scored import Scored
from pipelines.show import visible


def print_scores(found: Scores) -> None:
    """Every set at every size, then every slice, then what was calibrated."""
    out = console()
    out.print(_sets(found))
    if found.get("slices"):
        out.print(_slices(found))
    if calibration := found.get("calibration"):
        out.print(_calibration(calibration))


def print_worst(rows: Iterable[Scored], found: Scores, count: int) -> None:
    """The rows of each set that the first size was worst at; they come worst first."""
    out, first = console(), [row for row in rows if row.size == found["over"]]
    for name in found["sets"]:
        for row in [row for row in first if row.set == name][:count]:
            if row.parts["exact"].of < 1:
                right = " | ".join(row.references or [row.reference])
                shown = map(visible, (row.set, row.item, right, row.text))
                lines = "{}: {}\n  right: {}\n  said:  {}".format(*shown)
                out.print(lines, soft_wrap=True)


def print_hint(hint: str) -> None:
    """What to try next."""
    console().print(f"to try next: {hint}", soft_wrap=True)


def _sets(found: Scores) -> Table:
    title = f"{found['model']}, {found['task']}: 95 % intervals over rows in brackets"
    table = _table(title, found, "set")
    for name, by_size in found["sets"].items():
        _add(table, found, visible(name), by_size)
    return table


def _slices(found: Scores) -> Table:
    table = _table("Slices of all rows", found, "slice")
    for kind, named in found["slices"].items():
        for name, by_size in named.items():
            _add(table, found, f"{SLICED.get(kind, kind)}: {visible(name)}", by_size)
    return table


def _table(title: str, found: Scores, first: str) -> Table:
    table = Table(title=title, box=SIMPLE_HEAD, title_justify="left")
    shown = found["shown"]
    for name in (first, "size", "rows", "failed", *shown.values()):
        table.add_column(name, justify="left" if name in (first, "size") else "right")
    if len(found["runs"]) > 1:
        table.add_column(f"{next(iter(shown.values()))} over {found['over']}", justify="right")
        table.add_column("rows better/worse", justify="right")
    return table


def _add(table: Table, found: Scores, name: str, by_size: Mapping[str, Cell]) -> None:
    shown = list(found["shown"])
    for size, one in by_size.items():
        cells = [name, visible(size), str(one["rows"]), str(one["failed"])]
        cells += [
            _percent(one["scores"][metric]) if metric in one["scores"] else "" for metric in shown
        ]
        over = one["difference"].get(shown[0])
        if size != found["over"] and over is not None:
            cells += [_percent(over, "+"), f"{over['wins']}/{over['losses']}"]
        table.add_row(*cells)


def _calibration(found: Mapping[str, Any]) -> Table:
    limit = found["threshold"]
    rows = found["rows"]
    use = (
        f"nested={found['small']} alone"
        if limit is None
        else (
            f"nested={found['large']} policy=auto policy.small={found['small']} "
            f"policy.threshold={limit:.6g}"
        )
    )
    table = Table(
        title=f"{use}\nwas chosen on {rows['chosen_on']} rows so that {found['metric']} is within "
        f"{100 * found['tolerance']:g} points of {found['large']}. On the other "
        f"{rows['judged_on']} rows:",
        box=SIMPLE_HEAD,
        title_justify="left",
    )
    table.add_column("answers")
    for name in (
        "asked again %",
        f"tokens {found['small']}",
        f"tokens {found['large']}",
        f"{found['metric']} %",
        f"over {found['large']}",
        "rows better/worse",
    ):
        table.add_column(name, justify="right")
    names = {"small": f"{found['small']} alone", "auto": "auto", "large": f"{found['large']} alone"}
    for key, name in names.items():
        one = found["judged"][key]
        over, is_itself = one["over_large"], key == "large"
        share = "" if is_itself else f"{100 * one['share']:.1f}"
        cells = [name, share, str(one["small_tokens"]), str(one["large_tokens"])]
        cells.append(_percent(one["score"]))
        cells += [] if is_itself else [_percent(over, "+"), f"{over['wins']}/{over['losses']}"]
        table.add_row(*cells)
    return table


def _percent(one: Mapping[str, Any], sign: str = "") -> str:
    """Percent, as in `12.3 [10.0 15.0]`."""
    value, low, high = (
        "" if one[name] is None else f"{100 * one[name]:{sign}.1f}"
        for name in ("value", "low", "high")
    )
    return f"{value} [{low} {high}]" if low else value
