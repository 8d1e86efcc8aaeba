"""Run folders -> a table of what the model said beside what was there: the end of `make demo`."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table


def main(folders: list[Path]) -> None:
    console = Console()
    for folder in folders:
        table = Table("item", "reference", "text", title=folder.name, title_justify="left")
        for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            table.add_row(row["item"], row["reference"] or "", row["text"] or row["error"] or "")
        console.print(table)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
