"""Evaluations -> a table of what each nested size said beside what was there: `make demo`'s end."""

import json
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.show import visible


def main(folders: list[Path]) -> None:
    console = Console()
    for folder in folders:
        items: dict[str, dict[str, str]] = {}
        sizes: dict[str, None] = {}
        for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            said = items.setdefault(row["item"], {"reference": row["reference"]})
            said[row["size"]] = "(failed)" if row["failed"] else row["text"]
            sizes[row["size"]] = None
        table = Table("item", "reference", *sizes, title=folder.name, title_justify="left")
        for item in sorted(items):
            cells = [item, *(items[item].get(name, "") for name in ("reference", *sizes))]
            table.add_row(*(Text(visible(cell), overflow="fold") for cell in cells))
        console.print(table)


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])
