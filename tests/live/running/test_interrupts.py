"""Which Ctrl-C is heard while a run goes on."""

import signal
import threading
import time

import pytest

from modelmeter.live.running.interrupts import one_interrupt

pytestmark = pytest.mark.usefixtures("heard")


def press() -> bool:
    """Ctrl-C: whether it was heard."""
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        return True
    return False


def test_the_first_of_several_and_again_after_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with one_interrupt():
        assert [press(), press()] == [True, False]
        now += 9.9
        assert not press()
        now += 0.2
        assert [press(), press()] == [True, False]
    assert [press(), press()] == [True, True]


def test_somebody_elses_answer_stays() -> None:
    heard: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    with one_interrupt():
        assert [press(), press()] == [False, False]
    assert heard == [signal.SIGINT, signal.SIGINT]


def test_a_run_in_another_thread_sets_no_handler() -> None:
    """Python allows it in the main thread alone."""
    handlers: list[object] = []

    def run() -> None:
        with one_interrupt():
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert handlers == [signal.default_int_handler]
