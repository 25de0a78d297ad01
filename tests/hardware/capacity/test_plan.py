"""Plans for catalogued devices: memory as in `fit`, times as in `time`, and the arithmetic of fleets."""

from itertools import pairwise

import attrs
import numpy as np
import pytest

import modelmeter as mm
from modelmeter.hardware.capacity.plan import Running, plan_device
from modelmeter.hardware.capacity.room import Impossible, room_for
from modelmeter.hardware.capacity.search import Limits
from modelmeter.hardware.capacity.times import ModelTimes
from modelmeter.hardware.capacity.workload import OutputTokens
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.limits import max_batch
from modelmeter.hardware.memory import memory_budget
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.hardware.page_time import decode_steps, time_page
from modelmeter.hardware.roofline import machine_of
from modelmeter.hardware.timeline import Timeline
from modelmeter.report.plan_inputs import Sample, kinds_of

CLOSED = Running(simulated=False)
SERVING = {"attention": "flash", "cache": "in_place", "experts": "grouped", "logits": "last"}


@pytest.fixture(scope="module")
def model():
    return mm.DeepseekOCRModel.from_config(**SERVING)


@pytest.fixture(scope="module")
def a4(model):
    return kinds_of([Sample(1654, 2339)], OutputTokens.constant(900), model=model)


@pytest.fixture(scope="module")
def h200():
    return machine_of("h200", execution="graph")


def planned(model, machine, pages, per_day=2e5, limits=None, price=None, running=CLOSED):
    return plan_device(
        model,
        machine,
        pages.works,
        pages.mix,
        pages_per_day=per_day,
        limits=limits or Limits(),
        running=running,
        price=price,
    )


@pytest.mark.parametrize("name", ["a100-40g", "rtx-4090", "t4"])
@pytest.mark.parametrize("tokens", [300, 900])
def test_the_batch_that_memory_holds_is_that_of_fit(model, name, tokens):
    pages = kinds_of([Sample(1654, 2339)], OutputTokens.constant(tokens), model=model)
    device = get_device(name)
    budget = memory_budget(device, model.parameter_bytes())
    room = room_for(model, device, budget, pages.works, pages.mix, most_batch=4096)
    work = Workload(views=pages.works[0].views, context_len=pages.works[0].context, decode_tokens=tokens - 1)
    fit = max_batch([Needs(model.engine, work, block_tokens=16, prefill_batch=1)], budget.free_bytes)
    assert room.batch == fit.batch
    assert room.limited
    assert room.kv_blocks >= room.batch * pages.mix.held_blocks


def test_a_device_that_is_too_small_says_so(model, a4):
    device = attrs.evolve(get_device("rtx-4090"), memory_bytes=model.parameter_bytes())
    budget = memory_budget(device, model.parameter_bytes())
    with pytest.raises(Impossible, match="does not hold the weights"):
        room_for(model, device, budget, a4.works, a4.mix, most_batch=8)
    tight = attrs.evolve(device, memory_bytes=round(model.parameter_bytes() / 0.9) + 2**30)
    with pytest.raises(Impossible, match="no memory for one page"):
        room_for(model, tight, memory_budget(tight, model.parameter_bytes()), a4.works, a4.mix, most_batch=8)


def test_the_table_of_times_is_the_timeline(model, a4, h200):
    work = a4.works[0]
    times = ModelTimes(model, h200, a4.works, most_batch=40, most_cached=2000, most_chunk=1024)
    page = time_page(model, work.views, h200, decode_tokens=0)
    assert times.vision_seconds(0, 1) == page.vision.seconds.roofline
    assert times.prefill_seconds(0, 1) == page.prefill.seconds.roofline
    assert times.host_seconds(0) == work.host_seconds
    for batch, cached in [(1, 1), (7, 2000), (40, 1000)]:  # on the table
        exact = decode_steps(model, h200, cached, batch)["roofline"]
        assert times.decode_seconds(batch, cached) == pytest.approx(exact, rel=2e-3)
    between = [decode_steps(model, h200, cached, 16)["roofline"] for cached in (800, 1350)]
    assert [times.decode_seconds(16, cached) for cached in (800, 1350)] == pytest.approx(between, rel=5e-3)


def test_a_step_with_a_chunk(model, a4, h200):
    times = ModelTimes(model, h200, a4.works, most_batch=40, most_cached=2000, most_chunk=1024)
    probe = mm.DeepseekOCRModel.from_config(**SERVING)
    probe.start_prefill(1)
    probe.extend_prefill(1024)
    alone = Timeline(probe.trace(), h200).seconds
    assert times.mixed_seconds(0, 0.0, 1024, 1) == pytest.approx(alone, rel=1e-9)
    # Decoding pages join its rows, and read their caches besides.
    reading = times.decode_seconds(40, 2000) - times.decode_seconds(40, 1)
    assert times.mixed_seconds(40, 2000.0, 984, 1) == pytest.approx(alone + reading, rel=1e-9)
    sizes = np.arange(64, 1025, 64)
    seconds = [times.mixed_seconds(0, 0.0, int(size), 900) for size in sizes]
    assert all(more >= less for less, more in pairwise(seconds))


def test_the_arithmetic_of_a_fleet(model, a4, h200):
    plan = planned(model, h200, a4, per_day=2e7, price=3.5)
    fleet = plan.fleet
    needed = 2e7 / 86_400
    assert fleet.gpus == -(-needed // fleet.gpu.rate)  # the next whole number
    assert fleet.steady.rate == pytest.approx(needed / fleet.gpus)
    hours = fleet.gpus * (1e6 / needed) / 3600  # while a million pages go by
    assert fleet.cost_per_million == pytest.approx(hours * 3.5)
    assert fleet.energy_per_million == pytest.approx(hours * h200.device.power_watts / 1000)
    assert (plan.level, plan.impossible) == ("roofline", None)
    assert planned(model, h200, a4).fleet.cost_per_million is None


def test_a_device_of_twice_the_rates_does_twice_as_much(model, a4, h200):
    free = [attrs.evolve(work, host_seconds=0.0) for work in a4.works]
    pages = attrs.evolve(a4, works=tuple(free))
    device = h200.device
    twice = attrs.evolve(
        device,
        tensor={name: 2 * rate for name, rate in device.tensor.items()},
        vector={name: 2 * rate for name, rate in device.vector.items()},
        bandwidth=2 * device.bandwidth,
        l2_bandwidth=None if device.l2_bandwidth is None else 2 * device.l2_bandwidth,
        launch_seconds=1e-12,
    )
    once = attrs.evolve(device, launch_seconds=1e-12)
    rates = [planned(model, attrs.evolve(h200, device=each), pages).fleet.gpu.rate for each in (once, twice)]
    assert rates[1] == pytest.approx(2 * rates[0], rel=0.02)


def test_an_impossible_latency_is_said_of_the_device(model, a4, h200):
    plan = planned(model, h200, a4, limits=Limits(ttft=0.01))
    assert plan.fleet is None
    assert "TTFT of 0.01 s is impossible" in plan.impossible


def test_a_queue_without_end_has_no_latency(model, a4, h200):
    rate = planned(model, h200, a4, limits=Limits(utilisation=1.0)).fleet.gpu.rate
    plan = planned(model, h200, a4, per_day=rate * 86_400 * 0.9999, limits=Limits(utilisation=1.0))
    assert plan.fleet.gpus == 1
    assert plan.fleet.steady.latency("ttft_p95") is None


@pytest.mark.parametrize(
    ("change", "says"),
    [({"per_day": 0}, "pages a day"), ({"per_day": float("nan")}, "pages a day"), ({"price": -1.0}, "price")],
)
def test_what_no_device_could_do(model, a4, h200, change, says):
    with pytest.raises(mm.ModelMeterError, match=says):
        planned(model, h200, a4, **change)


def test_pages_longer_than_the_model_goes(model, h200):
    pages = kinds_of([Sample(600, 620)], OutputTokens.constant(8000), model=model)
    with pytest.raises(mm.ModelMeterError, match="the model has 8192 positions"):
        planned(model, h200, pages)


def test_simulated_and_closed_plans_agree(model, a4, h200):
    limits = Limits(ttft=0.3, tpot=0.01)
    formula, simulated = (
        planned(model, h200, a4, limits=limits, per_day=2e6, running=running).fleet for running in (CLOSED, Running())
    )
    assert simulated.gpu.rate == pytest.approx(formula.gpu.rate, rel=0.05)
    assert simulated.steady.agrees
    for name, limit in (("ttft_p95", 0.3), ("tpot_p95", 0.01)):
        assert simulated.steady.latency(name) <= limit


@pytest.mark.parametrize(("per_day", "ttft"), [(1e9, 0.15), (1e8, 0.17)])
def test_limits_hold_at_the_load_that_is_reported(model, a4, per_day, ttft):
    """So many GPUs that each runs at its limit: the interval's upper end is below it, with other random numbers."""
    machine, limits = machine_of("a100-40g", execution="graph"), Limits(ttft=ttft)
    fleet = planned(model, machine, a4, limits=limits, per_day=per_day, running=Running()).fleet
    assert fleet.gpus > 50 and fleet.steady.rate > 0.97 * fleet.gpu.rate
    assert fleet.steady.measured.ttft_p95.upper <= ttft
