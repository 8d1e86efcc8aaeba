import os
import signal
import threading

import pytest

from pipelines.signals import signals_kept, signals_noticed


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_that_somebody_swallowed_is_noticed_later(sign: signal.Signals) -> None:
    with signals_kept():
        signal.signal(sign, signal.default_int_handler)
        with signals_noticed() as check:
            check()
            with pytest.raises(KeyboardInterrupt):  # as a callback of C loses it
                os.kill(os.getpid(), sign)
            with pytest.raises(KeyboardInterrupt):
                check()
        assert signal.getsignal(sign) is signal.default_int_handler


def test_what_is_ignored_stays_ignored() -> None:
    with signals_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with signals_noticed() as check:
            os.kill(os.getpid(), signal.SIGTERM)
            check()


def test_another_thread_has_no_handlers_to_change() -> None:
    failed: list[BaseException] = []

    def work() -> None:
        try:
            with signals_noticed() as check:
                check()
        except BaseException as error:
            failed.append(error)

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failed
    assert signal.getsignal(signal.SIGINT) is before
