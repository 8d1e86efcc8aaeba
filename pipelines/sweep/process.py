"""One run of a sweep in a process of its own: a crash, or no memory, is the end of that one only.

The process also has the memory to itself, so that its peak is the run's own. It ends when this
one does, however this one ends: it waits at a pipe of which we hold the other end.
"""

import os
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Thread
from typing import IO

_TAIL = 30  # last lines that are kept, to tell of what went wrong
_LAST_WORDS_S = 2.0  # processes that a dead run leaves behind may hold its stderr for longer


class RunProcess:
    """A command of ours that runs."""

    def __init__(
        self,
        words: Sequence[str],
        console: Path,
        threads: int | None,
        tell: Callable[[str], None],
        ended: Callable[[], None],
    ) -> None:
        """Start it.

        Args:
            words: after `gemma3n`.
            console: file to which all is appended that it says.
            threads: of its arithmetic; None leaves that to it.
            tell: gets each line that it says, from another thread.
            ended: is called when it is at its end, from another thread.
        """
        self.tail: deque[str] = deque(maxlen=_TAIL)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipelines.sweep.child", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,  # tables that the sweep's own sums up
            stderr=subprocess.PIPE,
            env=_environment(threads),
            start_new_session=True,  # Ctrl-C is ours: the runs are told by `stop`
        )
        assert self._process.stderr is not None
        said = (self._process.stderr, console, tell)
        listener = Thread(target=self._listen, args=said, daemon=True)
        listener.start()
        Thread(target=self._wait, args=(listener, ended), daemon=True).start()

    def stop(self) -> None:
        """Let it end as by SIGTERM: what is done is kept, and assembled."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def code(self) -> int:
        """Its exit code, once it has ended; below 0 it is the signal that ended it."""
        code = self._process.wait()
        self.stop()
        return code

    def _listen(self, stderr: IO[bytes], console: Path, tell: Callable[[str], None]) -> None:
        with stderr, console.open("ab") as file:
            for raw in stderr:
                file.write(raw)
                file.flush()
                line = raw.decode(errors="backslashreplace").rstrip()
                self.tail.append(line)
                tell(line)

    def _wait(self, listener: Thread, ended: Callable[[], None]) -> None:
        self._process.wait()
        listener.join(_LAST_WORDS_S)
        ended()


def _environment(threads: int | None) -> dict[str, str]:
    here = [path for path in sys.path if path]
    found = {**os.environ, "PYTHONPATH": os.pathsep.join(here), "PYTHONUNBUFFERED": "1"}
    if threads is not None:
        found.setdefault("OMP_NUM_THREADS", str(threads))
    return found
