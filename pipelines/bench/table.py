"""What a bench found -> a table, or JSON."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table


@dataclass
class Bench:
    """The runs of one bench."""

    title: str  # what was measured
    asked: dict[str, Any]  # with which settings
    runs: list[dict[str, Any]]  # figures by name: whole numbers are bytes, texts say what it was

    def document(self) -> str:
        """All of it, as JSON."""
        return json.dumps({"asked": self.asked, "runs": self.runs}, indent=2) + "\n"

    def table(self) -> Table:
        """Medians with the lowest and the highest of all runs."""
        table = Table(title=self.title, box=SIMPLE_HEAD, title_justify="left")
        table.add_column("what")
        for name in ("median", "lowest", "highest"):
            table.add_column(name, justify="right")
        for what, first in self.runs[0].items():
            if isinstance(first, str):
                continue
            values = [run[what] for run in self.runs]
            spread = (statistics.median(values), min(values), max(values))
            is_bytes = isinstance(first, int)
            table.add_row(what, *(f"{v / 1e6:,.0f} MB" if is_bytes else f"{v:.2f}" for v in spread))
        return table


@dataclass
class Lines(Bench):
    """Runs that are not the same over again: each has a line of its own."""

    word: Callable[[Any], str]  # a figure, as the table has it
    notes: list[str] = field(default_factory=list)  # what follows from them, a sentence each

    def document(self) -> str:
        """All of it, as JSON."""
        told = {"asked": self.asked, "runs": self.runs, "notes": self.notes}
        return json.dumps(told, indent=2) + "\n"

    def table(self) -> Table:
        """A line a run."""
        table = Table(title=self.title, box=SIMPLE_HEAD, title_justify="left")
        for name, first in self.runs[0].items():
            table.add_column(name, justify="left" if isinstance(first, str) else "right")
        for run in self.runs:
            table.add_row(*map(self.word, run.values()))
        table.caption, table.caption_justify = "\n".join(self.notes) or None, "left"
        return table
