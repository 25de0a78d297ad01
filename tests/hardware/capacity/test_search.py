"""The largest rate under limits, on made-up times."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import ModelMeterError
from modelmeter.hardware.capacity.room import Impossible
from modelmeter.hardware.capacity.search import SEARCHING, Limits, Search
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.simulation import simulate

from .conftest import LinearTimes

TIMES = LinearTimes(step_page=1e-4)
FREE = Limits()


def search(mix, limits, *, times=TIMES, batch=64, simulated=False, memory_limited=False, **server):
    server = Server(max_batch=batch, **server)
    return Search(mix, server, times, limits, simulated=simulated).run(memory_limited=memory_limited)


def test_without_limits_of_latency_it_is_a_share_of_saturation(pages):
    found = search(pages(901), Limits(utilisation=0.8), memory_limited=True)
    assert found.server.max_batch == 64
    assert found.rate == pytest.approx(0.8 / (0.05 + 900 * (0.01 + 64e-4) / 64))
    assert found.binds == "memory size"
    assert search(pages(901), Limits(utilisation=0.8)).binds == "max batch"


def test_the_smallest_batch_that_is_as_good(pages):
    # Prefill of 0.05 s a page dwarfs the single decode step of at most 16 ms shared by the batch.
    found = search(pages(2), FREE, batch=512)
    most = 0.95 / (0.05 + (0.01 + 512e-4) / 512)
    assert found.server.max_batch < 512
    assert 0.995 * most <= found.rate <= most
    assert found.binds == "throughput"


def test_the_host_can_bind(pages):
    found = search(pages(901), FREE, times=attrs.evolve(TIMES, host=4.0), host_workers=2)
    assert found.rate == pytest.approx(0.95 * 2 / 4.0)
    assert found.binds == "host"


def test_a_limit_of_tpot_ends_the_batch(pages):
    found = search(pages(901), Limits(tpot=0.013))
    assert found.binds == "tpot"
    assert found.rate < search(pages(901), FREE).rate
    # A decode step of the whole batch alone takes no longer than a few stalls beyond the limit.
    assert 0.01 + found.server.max_batch * 1e-4 < 0.014


def test_what_cannot_be_reached_says_why(pages):
    times = attrs.evolve(TIMES, host=0.02)
    with pytest.raises(Impossible, match=r"TTFT of 0\.06 s is impossible: .* takes 0\.07 s \(its host work 0\.02 s\)"):
        search(pages(901), Limits(ttft=0.06), times=times)
    with pytest.raises(Impossible, match=r"TPOT of 0\.01 s is impossible: .* takes 0\.0101 s"):
        search(pages(901), Limits(tpot=0.01))


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"ttft": 0.0}, "TTFT limit must be positive"),
        ({"tpot": -1.0}, "TPOT limit must be positive"),
        ({"ttft": float("nan")}, "TTFT limit must be positive"),
        ({"utilisation": 1.1}, "utilisation must be from 0.01 to 1"),
        ({"utilisation": 0.0}, "utilisation"),
    ],
)
def test_limits_that_cannot_be(limits, says):
    with pytest.raises(ModelMeterError, match=says):
        Limits(**limits)


@settings(deadline=None, max_examples=15)
@given(ttft=st.floats(0.06, 2.0), tpot=st.floats(0.0102, 0.05), more=st.floats(1.0, 3.0))
def test_looser_limits_allow_no_less(mixed, ttft, tpot, more):
    tight = search(mixed, Limits(ttft=ttft, tpot=tpot))
    loose = search(mixed, Limits(ttft=ttft * more, tpot=tpot * more))
    assert loose.rate >= tight.rate * (1 - 0.01)  # batches within half a percent count as equal


@pytest.mark.parametrize("limits", [Limits(ttft=0.2, tpot=0.014), Limits(tpot=0.013), Limits(ttft=0.12)])
def test_the_simulated_rate_keeps_the_limits(pages, limits):
    mix = pages(301)
    found = search(mix, limits, simulated=True, batch=128)
    fresh = attrs.evolve(SEARCHING, pages=4000, seed=7)  # not the random numbers that chose the rate
    again = simulate(mix, found.server, TIMES, found.rate, fresh, first_batch=found.server.max_batch / 2)
    for name in ("ttft", "tpot"):
        if getattr(limits, name) is not None:
            assert getattr(again, f"{name}_p95").mean <= 1.05 * getattr(limits, name)
    assert found.rate <= 0.95 * found.saturation
    formula = search(mix, limits, batch=128)
    assert found.rate == pytest.approx(formula.rate, rel=0.1)
