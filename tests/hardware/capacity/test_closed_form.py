"""The closed form against queues whose answers are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import ModelMeterError
from modelmeter.hardware.capacity.closed_form import ClosedForm
from modelmeter.hardware.capacity.server import Server
from modelmeter.hardware.capacity.waiting import Grid, erlang_c
from modelmeter.hardware.capacity.workload import OutputTokens, PageKind, PageMix

from .conftest import LinearTimes


def test_without_decoding_it_is_m_d_1(pages, linear):
    form = ClosedForm(pages(1), Server(max_batch=8), linear())
    assert form.saturation == pytest.approx(1 / 0.05)
    found = form.at(0.6 / 0.05)
    assert found.ttft_mean == pytest.approx(0.05 + 0.6 * 0.05 / (2 * (1 - 0.6)), rel=2e-3)
    assert (found.tpot_mean, found.tpot_p95, found.mean_batch) == (0, 0, 0)


def test_equal_shares_of_a_fixed_speed_are_m_g_1_processor_sharing(mixed, linear):
    times = linear(vision=0.0, prefill=1e-12, step=0.0, step_page=1e-3)
    form = ClosedForm(mixed, Server(max_batch=400), times)
    # 1000 tokens a second for all: load = rate x steps / 1000; a page of x seconds stays x / (1 - load).
    rate = 0.5 * 1000 / mixed.steps
    assert form.at(rate).tpot_mean == pytest.approx(1e-3 / (1 - 0.5))
    assert form.at(rate).mean_batch == pytest.approx(0.5 / (1 - 0.5))


def test_steps_that_ignore_the_batch_are_m_g_infinity(pages, linear):
    form = ClosedForm(pages(101), Server(max_batch=200), linear(vision=0.0, prefill=1e-12, step=0.01))
    found = form.at(20.0)
    assert found.tpot_mean == pytest.approx(0.01)
    assert found.mean_batch == pytest.approx(20.0 * 100 * 0.01)  # Little's law
    assert found.blocked < 1e-9


def test_prefill_takes_its_share_of_the_time_from_decoding(pages, linear):
    found = ClosedForm(pages(10_001), Server(max_batch=2000), linear(prefill=0.03)).at(5.0)
    # Prefill takes 5 x 0.05 = a quarter of the time, so steps of 10 ms come every 13.3 ms.
    assert found.tpot_mean == pytest.approx(0.01 / (1 - 5.0 * 0.05), rel=1e-3)


@pytest.mark.parametrize("prefill", [0.03, 0.48])
def test_a_single_slot_is_m_d_1(pages, linear, prefill):
    form = ClosedForm(pages(101), Server(max_batch=1), linear(prefill=prefill))
    service, load = 0.02 + prefill + 100 * 0.01, 0.8  # of an equal page: nobody else is on the GPU meanwhile
    waited = form.at(load / service).ttft_mean - (0.02 + prefill)
    assert waited == pytest.approx(load * service / (2 * (1 - load)), rel=0.1)  # Pollaczek and Khinchine


def test_arrivals_are_as_peaked_as_the_busy_periods_of_prefill(pages, linear):
    load = 5.0 * 0.05  # Borel's law of the pages n of a busy period: E[n^2] / E[n] = 1 / (1 - load)^2
    equal = ClosedForm(pages(101), Server(max_batch=2), linear())
    assert equal._peakedness(5.0) == pytest.approx([1 / (1 - load) ** 2] * 2)
    half = PageMix((PageKind(name="page", context=900),), OutputTokens((101, 301), (1.0, 1.0)))
    alike = (100 * 3 / 4 + 300 / 4) / 200  # of two pages the shorter has 300 steps only where both have
    unlike = ClosedForm(half, Server(max_batch=2), linear())
    assert unlike._peakedness(5.0) == pytest.approx([1 + (1 / (1 - load) ** 2 - 1) * alike] * 2)


def test_saturation_is_the_arithmetic(pages, linear):
    times = linear(step_page=1e-3, chunk_token=1e-4)
    first = ClosedForm(pages(101), Server(max_batch=16), times)
    assert first.gpu_saturation == pytest.approx(1 / (0.05 + 100 * (0.01 + 16e-3) / 16))
    chunked = ClosedForm(pages(101), Server(max_batch=16, policy="chunked", token_budget=315), times)
    mixed_steps = 3 * (0.01 + 15e-3) + 900 * 1e-4
    assert chunked.gpu_saturation == pytest.approx(1 / (0.02 + mixed_steps + (100 - 45) / 16 * (0.01 + 16e-3)))


def test_many_chunks_and_few_tokens_leave_the_batch_small(pages, linear):
    server = Server(max_batch=64, policy="chunked", token_budget=2000)
    form = ClosedForm(pages(11), server, linear(chunk_token=1e-5))
    # One chunk a page, in which ten pages decode: no more than ten are ever there.
    assert form.gpu_saturation == pytest.approx(1 / (0.02 + 0.01 + 900e-5))


def test_the_host_can_be_what_saturates(pages, linear):
    form = ClosedForm(pages(101), Server(max_batch=64, host_workers=3), linear(host=2.0))
    assert form.host_saturation == pytest.approx(3 / 2.0)
    assert form.saturation == form.host_saturation < form.gpu_saturation
    with pytest.raises(ModelMeterError, match=r"no steady state at 1\.5 pages/s"):
        form.at(1.5)


def test_a_page_alone(mixed, linear):
    form = ClosedForm(mixed, Server(max_batch=8), linear(host=0.1, sizes=(1.0, 3.0)))
    assert form.unloaded_ttft_p95() == pytest.approx(0.1 + 3 * 0.05)  # a third of the pages are large
    assert form.unloaded_tpot() == pytest.approx(0.01)
    assert form.at(1e-6).ttft_mean == pytest.approx(0.1 + 0.05 * (2 / 3 * 1 + 1 / 3 * 3), rel=1e-3)


def test_erlang_c():
    assert erlang_c(1, 0.7) == pytest.approx(0.7)  # one server: the load
    assert erlang_c(2, 1.0) == pytest.approx(2 * 0.5**2 / (1 + 0.5))  # two: 2 r^2 / (1 + r) at r = load / 2


def test_delays_on_a_grid():
    grid = Grid(40.0)
    two = grid.sum(grid.constants(np.array([1.0, 3.0]), np.array([0.5, 0.5])), grid.exponential(2.0))
    assert grid.mean(two) == pytest.approx(2.0 + 2.0, rel=1e-3)
    assert grid.quantile(grid.exponential(2.0), 0.95) == pytest.approx(-2.0 * math.log(0.05), rel=5e-3)
    # What is left of services of 1 and 3 s: E[x^2] / (2 E[x]) = 5 / 4.
    assert grid.mean(grid.residuals(np.array([1.0, 3.0]), np.array([0.5, 0.5]))) == pytest.approx(1.25, rel=1e-3)


@settings(deadline=None, max_examples=30)
@given(
    low=st.floats(0.02, 0.9),
    more=st.floats(0.01, 0.09),
    batch=st.sampled_from([4, 32, 128]),
    policy=st.sampled_from(["prefill-first", "chunked"]),
)
def test_more_pages_never_wait_less(mixed, low, more, batch, policy):
    form = ClosedForm(mixed, Server(max_batch=batch, policy=policy), LinearTimes(step_page=1e-4, chunk_token=1e-5))
    less, greater = form.at(low * form.saturation), form.at((low + more) * form.saturation)
    assert greater.tpot_mean > less.tpot_mean
    assert greater.mean_batch > less.mean_batch
    assert greater.blocked >= less.blocked
    for found in (less, greater):
        assert found.tpot_p95 >= found.tpot_mean


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.01, 100.0), load=st.floats(0.05, 0.95))
def test_all_times_scaled_scale_the_answers(mixed, scale, load):
    once = ClosedForm(mixed, Server(max_batch=32), LinearTimes(step_page=1e-4, host=0.01))
    scaled = LinearTimes(
        vision=0.02 * scale, prefill=0.03 * scale, step=0.01 * scale, step_page=1e-4 * scale, host=0.01 * scale
    )
    other = ClosedForm(mixed, Server(max_batch=32), scaled)
    assert other.saturation == pytest.approx(once.saturation / scale)
    one, two = once.at(load * once.saturation), other.at(load * other.saturation)
    for name in ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95"):
        assert getattr(two, name) == pytest.approx(getattr(one, name) * scale, rel=1e-6)
