"""Ctrl-C pressed twice: the second one shall not stop what the first one began."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_SAME: Final = 10.0
"""Seconds in which another Ctrl-C is taken for the same one: enough to write the files of a long run."""


@contextmanager
def one_interrupt() -> Iterator[None]:
    """Of several Ctrl-C one after the other the first alone is heard in here, so that a run can write what it had.

    Only Python's own answer to Ctrl-C is replaced: in another thread, and where SIGINT is ignored or answered by
    somebody else, nothing changes.
    """
    usual = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or usual is not signal.default_int_handler:
        yield
        return
    heard: list[float] = []

    def hear(*_: object) -> None:
        if heard and time.monotonic() - heard[-1] < _SAME:
            return
        heard.append(time.monotonic())
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, usual)
