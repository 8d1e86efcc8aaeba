"""Evaluations -> a table of what each nested size said beside what was there: `make demo`'s end.

With `--readme FILE` first, the table between the marks of that file is made anew too.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.show import visible

_MARKS = ("<!-- what make demo shows -->\n", "<!-- end -->\n")


def main(folders: list[Path], readme: Path | None = None) -> None:
    console, lines = Console(), ["| item | reference | full | small |", "| --- | --- | --- | --- |"]
    for folder in folders:
        sizes, rows = _said(folder)
        table = Table("item", "reference", *sizes, title=folder.name, title_justify="left")
        for row in rows:
            cells = list(map(visible, row))
            table.add_row(*(Text(cell, overflow="fold") for cell in cells))
            lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
        console.print(table)
    if readme is not None:
        text = readme.read_text(encoding="utf-8")
        before, rest = text.split(_MARKS[0])
        after = rest.split(_MARKS[1])[1]
        made = "".join(f"{line}\n" for line in lines)
        readme.write_text(before + _MARKS[0] + made + _MARKS[1] + after, encoding="utf-8")


def _said(folder: Path) -> tuple[list[str], Iterator[list[str]]]:
    """Nested sizes, and for each item its name, its reference and what each size said."""
    items: dict[str, dict[str, str]] = {}
    sizes: dict[str, None] = {}
    for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        said = items.setdefault(row["item"], {"reference": row["reference"]})
        said[row["size"]] = "(failed)" if row["failed"] else row["text"]
        sizes[row["size"]] = None
    names = ("reference", *sizes)
    return list(sizes), ([i, *(items[i].get(name, "") for name in names)] for i in sorted(items))


if __name__ == "__main__":
    words = sys.argv[1:]
    readme = Path(words[1]) if words[0] == "--readme" else None
    main([Path(name) for name in (words if readme is None else words[2:])], readme)
