"""Signals that end a run, beside libraries that have handlers and callbacks of their own."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def signals_kept() -> Iterator[None]:
    """Keep the handlers that are there, whatever the block puts in their place.

    Ray does, and ours end a run in good order.
    """
    kept = {one: signal.getsignal(one) for one in _ENDING}
    try:
        yield
    finally:
        for one, handler in kept.items():
            with suppress(ValueError, TypeError):  # not the main thread, or not Python's
                signal.signal(one, handler)


@contextmanager
def signals_noticed() -> Iterator[Callable[[], None]]:
    """Notice signals that end a run even where the exception that a handler raises is lost.

    A handler runs in the midst of whatever the main thread is at: in a finaliser, or in a callback
    of a library, nobody sees what it raises.

    Yields:
        Raises KeyboardInterrupt if a signal came since the block began.
    """
    came = threading.Event()
    before: dict[int, Any] = {}

    def notice(number: int, frame: FrameType | None) -> None:
        came.set()
        if callable(handler := before[number]):
            handler(number, frame)

    def check() -> None:
        if came.is_set():
            raise KeyboardInterrupt

    with signals_kept():
        if threading.current_thread() is threading.main_thread():
            for one in _ENDING:
                before[one] = signal.getsignal(one)
                if callable(before[one]):  # those that are ignored stay so
                    signal.signal(one, notice)
        yield check
