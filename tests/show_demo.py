"""Run folders -> a table of what the model said beside what was there: the end of `make demo`."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text


def main(folders: list[Path]) -> None:
    console = Console()
    for folder in folders:
        table = Table("item", "reference", "text", title=folder.name, title_justify="left")
        table.add_column("mean logprob", justify="right")
        for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            said = row["error"]["message"] if row["error"] else row["text"]
            means = [s["logprob"] for s in row["segments"] if s["logprob"] is not None]
            cells = [row["item"], row["reference"] or "", said, *(f"{mean:.4f}" for mean in means)]
            table.add_row(*(Text(visible(cell), overflow="fold") for cell in cells))
        console.print(table)


def visible(text: str) -> str:
    """Text in which what would steer a terminal is escaped, as in Python."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
