"""`gemma3n` as a run of a sweep: it stops, as by SIGTERM, when stdin ends.

The sweep holds the other end and says nothing there. The end comes when it wants the run to stop,
and when it is gone itself, even by SIGKILL.
"""

import os
import signal
import sys
from threading import Thread

from pipelines.cli import main


def wait_for_the_end(stdin: int) -> None:
    """Read until the other end is closed, and then stop this process."""
    while os.read(stdin, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    Thread(target=wait_for_the_end, args=(os.dup(0),), daemon=True).start()
    sys.exit(main())
