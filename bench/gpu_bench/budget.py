"""The time that a run may take, and what ends it when that is over."""

import faulthandler
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

LAST = 0.04
"""Part of the budget that is kept for what comes after measuring: predictions, tables, the file."""


class OutOfTime(BaseException):
    """A section has had its time. No `Exception`: libraries that swallow those let it pass."""


class Budget:
    """`seconds` since `started` (of `time.monotonic`)."""

    def __init__(self, seconds: float, started: float | None = None) -> None:
        self.seconds = seconds
        self._started = time.monotonic() if started is None else started

    @property
    def used(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    @property
    def left(self) -> float:
        """Seconds that are left for measuring; none when negative."""
        return self.seconds * (1 - LAST) - self.used

    @contextmanager
    def limit(self, most: float) -> Iterator[None]:
        """While this runs, `OutOfTime` is raised as soon as nothing is left, or `most` seconds are over.

        That is between two steps of Python; a call that never comes back is ended with the process, at the full budget.
        """
        if not hasattr(signal, "setitimer"):  # Windows: sections still look at the clock
            yield
            return
        before = signal.signal(signal.SIGALRM, _out_of_time)
        signal.setitimer(signal.ITIMER_REAL, max(min(self.left, most), 1e-3))
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    def end_process(self) -> None:
        """From now on the process ends at the full budget whatever it waits for, and says where it stood."""
        left = max(self.seconds - self.used, 1.0)
        faulthandler.dump_traceback_later(left, exit=True, file=sys.__stderr__ or sys.stderr)

    def keep_process(self) -> None:
        """It is through: nothing ends it any more."""
        faulthandler.cancel_dump_traceback_later()


def _out_of_time(_signal: int, _frame: FrameType | None) -> None:
    raise OutOfTime
