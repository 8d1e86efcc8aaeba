"""Tables and lines for people, on stdout."""

import sys

from rich.console import Console

_WIDEST = 400  # columns


def console(width: int = _WIDEST) -> Console:
    """Prints text as it is: no markup, no colours of its own.

    Args:
        width: columns in a file or a pipe, which has no edge at which a table would have to wrap.
    """
    columns = None if sys.stdout.isatty() else width
    return Console(markup=False, highlight=False, emoji=False, width=columns)
