"""The algebra of the two clocks against the clocks themselves."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter.hardware.stream import NOTHING, START, Clocks, operator

SECONDS = st.floats(0, 10, allow_nan=False)
STEPS = st.lists(st.tuples(SECONDS, SECONDS, st.booleans()), max_size=12)


def walk(steps):
    """Each operator in turn: launched when the host is free, run when the device is."""
    host = device = 0.0
    for launch, busy, waits in steps:
        host += launch
        device = max(device, host) + busy
        if waits:
            host = device
    return Clocks(host, device)


@given(STEPS)
def test_streams_do_what_the_clocks_do(steps):
    whole = NOTHING
    for launch, busy, waits in steps:
        whole = whole.then(operator(launch, busy, waits=waits))
    assert whole.after(START) == pytest.approx(walk(steps))


@given(STEPS, STEPS, STEPS)
def test_composition_is_associative(a, b, c):
    def stream(steps):
        whole = NOTHING
        for launch, busy, waits in steps:
            whole = whole.then(operator(launch, busy, waits=waits))
        return whole

    first, second, third = stream(a), stream(b), stream(c)
    left, right = first.then(second).then(third), first.then(second.then(third))
    assert left.after(START) == pytest.approx(right.after(START))
    assert left.after(Clocks(3.0, 5.0)) == pytest.approx(right.after(Clocks(3.0, 5.0)))


def test_a_busy_device_hides_launches():
    whole = operator(1.0, 10.0, waits=False).then(operator(1.0, 2.0, waits=False))
    assert whole.after(START) == Clocks(2.0, 13.0)  # launched at 1 and 2, run 1..11 and 11..13


def test_waiting_for_the_device_ends_the_run_ahead():
    whole = operator(1.0, 10.0, waits=True).then(operator(1.0, 2.0, waits=False))
    assert whole.after(START) == Clocks(12.0, 14.0)  # run 1..11, launched 11..12, run 12..14


def test_arrays_are_as_many_streams():
    busy = np.array([0.5, 2.0, 9.0])
    whole = operator(1.0, busy, waits=False).then(operator(1.0, 1.0, waits=False))
    assert whole.after(START).device.tolist() == [
        walk([(1.0, x, False), (1.0, 1.0, False)]).device for x in (0.5, 2.0, 9.0)
    ]
