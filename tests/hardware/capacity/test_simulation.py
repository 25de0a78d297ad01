"""The simulation against schedules and queues worked out by hand."""

import sys

import pytest
import simpy

from modelmeter import ModelMeterError
from modelmeter.hardware.capacity.gpu import Page, SimulatedGPU
from modelmeter.hardware.capacity.server import POLICIES, Server
from modelmeter.hardware.capacity.simulation import Sampling, simulate, simulate_saturated

SHORT = Sampling(pages=300, warm_up=100, least=2, most=2)


def served(mix, server, times, arrivals):
    """Pages that come at given times, on a GPU: each with its first and last moment."""
    env = simpy.Environment()
    gpu = SimulatedGPU(env, mix, server, times)
    pages = [Page(0, mix.kinds[0].context, tokens, mix.blocks(0, tokens), at) for at, tokens in arrivals]

    def source():
        for page in pages:
            yield env.timeout(page.arrived - env.now)
            gpu.submit(page)

    env.process(source())
    env.process(gpu.run())
    env.run(until=100)
    return pages


def test_a_prefill_stalls_those_who_decode(pages, linear):
    first, second = served(pages(11), Server(max_batch=4), linear(), [(0.0, 11), (0.05 + 0.025, 11)])
    assert first.first == pytest.approx(0.02 + 0.03)
    # The second comes in the middle of the third step, and is prefilled after it.
    assert second.first == pytest.approx(first.first + 3 * 0.01 + 0.05)
    # The first takes its ten steps and that stall: TPOT = (10 * 0.01 + 0.05) / 10.
    assert first.done - first.first == pytest.approx(10 * 0.01 + 0.05)
    assert second.done - second.first == pytest.approx(10 * 0.01)


def test_chunks_let_decoding_go_on(pages, linear):
    server = Server(max_batch=3, policy="chunked", token_budget=4)
    times = linear(chunk_token=0.001)
    first, second = served(pages(11, context=6), server, times, [(0.0, 11), (0.02 + 2 * 0.01 + 0.006 + 0.025, 11)])
    # Alone: vision, then chunks of 4 and 2 tokens.
    assert first.first == pytest.approx(0.02 + (0.01 + 0.004) + (0.01 + 0.002))
    # The second comes in the third step. Its vision stalls; then 4 - 1 tokens are left of the budget: two chunks of 3.
    assert second.first == pytest.approx(first.first + 3 * 0.01 + 0.02 + 2 * (0.01 + 0.003))
    assert first.done - first.first == pytest.approx(10 * 0.01 + 0.02 + 2 * 0.003)


def test_waiting_pages_of_one_kind_are_prefilled_together(pages, linear):
    server = Server(max_batch=8, prefill_batch=2)
    found = served(pages(2), server, linear(), [(0.0, 2), (0.001, 2), (0.002, 2)])
    # The first starts alone; the two that came meanwhile take 2 * 0.05 together.
    assert [page.first for page in found] == pytest.approx([0.05, 0.15, 0.15])


def test_pages_wait_for_room_in_the_cache(pages, linear):
    mix = pages(11)
    one_at_a_time = Server(max_batch=8, kv_blocks=mix.most_blocks)
    found = served(mix, one_at_a_time, linear(), [(0.0, 11), (0.01, 11)])
    assert found[0].done == pytest.approx(0.05 + 10 * 0.01)
    assert found[1].first == pytest.approx(found[0].done + 0.05)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_page_that_meets_nobody(pages, linear, policy):
    times = linear(host=0.1, step_token=1e-6)
    found = simulate(pages(11), Server(max_batch=8, policy=policy), times, 1e-4, SHORT)
    prefill = 0.05 if policy == "prefill-first" else 0.02 + 0.01  # the chunk: a step without decoding pages
    assert found.ttft_mean.mean == pytest.approx(0.1 + prefill)
    # Steps read 900 to 909 tokens.
    assert found.tpot_mean.mean == pytest.approx(0.01 + 1e-6 * (900 + 909) / 2)
    assert found.replications == 2


def test_without_decoding_it_is_the_queue_m_d_1(pages, linear):
    found = simulate(pages(1), Server(max_batch=8), linear(), 0.6 / 0.05, Sampling(pages=20_000, least=4, most=4))
    wait = 0.6 * 0.05 / (2 * (1 - 0.6))  # Pollaczek-Khinchine, constant service
    assert found.ttft_mean.mean == pytest.approx(0.05 + wait, rel=0.03)
    assert found.tpot_p95.mean == 0


def test_the_host_is_a_queue_too(pages, linear):
    times = linear(vision=0.0, prefill=1e-9, host=0.05)
    found = simulate(pages(1), Server(max_batch=8), times, 0.6 / 0.05, Sampling(pages=20_000, least=4, most=4))
    assert found.ttft_mean.mean == pytest.approx(0.05 + 0.6 * 0.05 / (2 * (1 - 0.6)), rel=0.03)
    four = simulate(pages(1), Server(max_batch=8, host_workers=4), times, 0.6 / 0.05, SHORT)
    assert four.ttft_mean.mean == pytest.approx(0.05, rel=0.01)  # hardly one of four is busy


def test_saturation_with_prefill_first(pages, linear):
    found = simulate_saturated(pages(101), Server(max_batch=16), linear(step_page=1e-3), SHORT)
    assert found.mean == pytest.approx(1 / (0.05 + 100 * (0.01 + 16 * 1e-3) / 16), rel=0.01)


def test_saturation_with_chunks(pages, linear):
    server = Server(max_batch=16, policy="chunked", token_budget=315)
    found = simulate_saturated(pages(101), server, linear(chunk_token=1e-4), SHORT)
    # 900 tokens are three chunks of 315 - 15; these steps decode 15 pages, the rest of the 100 tokens 16 at a time.
    plain = (100 - 3 * 15) / 16
    assert found.mean == pytest.approx(1 / (0.02 + 900 * 1e-4 + (3 + plain) * 0.01), rel=0.02)


def test_throughput_is_the_arrival_rate_below_saturation(mixed, linear):
    found = simulate(mixed, Server(max_batch=64), linear(sizes=(1, 3)), 1.0, Sampling(pages=4000, least=4, most=4))
    assert abs(found.throughput.mean - 1.0) < 2 * found.throughput.half_width
    # Little's law: the mean batch is the rate times the mean time of decoding; pages of 100 tokens weigh less in TPOT.
    assert found.mean_batch.mean == pytest.approx(found.rate * mixed.steps * found.tpot_mean.mean, rel=0.03)
    prefill = 1.0 * (2 / 3 * 0.03 * 1 + 1 / 3 * 0.03 * 3)
    assert found.busy["prefill"] == pytest.approx(prefill, rel=0.05)
    assert found.busy["mixed"] == 0


def test_a_start_near_the_mean_changes_nothing_but_the_way_there(mixed, linear):
    server, times = Server(max_batch=64), linear(sizes=(1, 3))
    sampling = Sampling(pages=3000, least=4, most=4)
    empty = simulate(mixed, server, times, 2.0, sampling)
    begun = simulate(mixed, server, times, 2.0, sampling, first_batch=empty.mean_batch.mean)
    assert begun.tpot_mean.mean == pytest.approx(empty.tpot_mean.mean, rel=0.02)
    assert begun != empty


def test_the_same_seed_gives_the_same(mixed, linear):
    def run(seed):
        sampling = Sampling(pages=300, warm_up=100, least=2, most=2, seed=seed)
        return simulate(mixed, Server(max_batch=8), linear(), 0.5, sampling)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_replications_go_on_until_the_intervals_are_narrow(mixed, linear):
    def count(relative):
        sampling = Sampling(pages=300, warm_up=100, relative=relative, least=2, most=12)
        return simulate(mixed, Server(max_batch=64), linear(), 1.0, sampling).replications

    assert count(10.0) == 2
    assert count(1e-9) == 12


def test_without_simpy_it_says_what_to_install(pages, linear, monkeypatch):
    monkeypatch.setitem(sys.modules, "simpy", None)
    with pytest.raises(ModelMeterError, match=r"pip install 'modelmeter\[plan\]'"):
        simulate(pages(2), Server(max_batch=1), linear(), 1.0)


@pytest.mark.parametrize("rate", [0.0, -1.0, float("inf"), float("nan")])
def test_a_rate_is_positive(pages, linear, rate):
    with pytest.raises(ModelMeterError, match="rate must be positive"):
        simulate(pages(2), Server(max_batch=1), linear(), rate)
