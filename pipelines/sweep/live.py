"""On a terminal, a line that tells what the runs of a sweep say; elsewhere nothing."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d [\d:,]+ [A-Z]+ [\w.]+: ")  # how a line of the log begins


@contextmanager
def live_line() -> Iterator[Callable[[str], None]]:
    """Yields what shows a line, in place of the one before."""
    if not sys.stderr.isatty():
        yield lambda line: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    columns = (
        SpinnerColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False, table_column=Column()),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None)
        yield lambda line: progress.update(task, description=_LOGGED.sub("", line))
