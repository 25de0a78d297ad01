"""Discrete-event simulation of one GPU under Poisson arrivals (simpy): what `plan` reports."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.gpu import STAGES, Page, SimulatedGPU
from modelmeter.hardware.capacity.server import Server, ServiceTimes
from modelmeter.hardware.capacity.statistics import Estimate, estimate
from modelmeter.hardware.capacity.workload import PageMix

if TYPE_CHECKING:
    import simpy

_DRAWN_AT_ONCE = 1024


@attrs.frozen(kw_only=True)
class Sampling:
    """How long to simulate: `pages` are measured after `warm_up` pages that are dropped, in each replication.

    Each is at least so many: twice, and once, the pages that the GPU holds, as that is how long it remembers.
    Replications, each with random numbers of its own, are added until the 95% confidence interval of every measured
    latency is within `relative` of its mean, or there are `most`.
    """

    pages: int = 2000
    warm_up: int = 1000
    relative: float = 0.03
    least: int = 4
    most: int = 16
    seed: int = 20260101

    def at_least(self, slots: int) -> "Sampling":
        """The same, long enough for a GPU that holds `slots` pages."""
        return attrs.evolve(self, pages=max(self.pages, 2 * slots), warm_up=max(self.warm_up, slots))


@attrs.frozen(kw_only=True)
class Measured:
    """Steady state of one GPU; seconds, pages a second, shares of time. TPOT is 0 where no page has two tokens."""

    rate: float
    throughput: Estimate
    ttft_mean: Estimate
    ttft_p95: Estimate
    tpot_mean: Estimate
    tpot_p95: Estimate
    mean_batch: Estimate
    busy: dict[str, float]
    replications: int


def simulate(
    mix: PageMix,
    server: Server,
    times: ServiceTimes,
    rate: float,
    sampling: Sampling | None = None,
    *,
    first_batch: float = 0,
) -> Measured:
    """Simulate `rate` pages a second (Poisson) on one GPU. The same arguments give the same answer.

    TTFT of a page is from its arrival to its first token: host work, queues, vision and prefill. TPOT is (its end - its
    first token) / (tokens - 1), so stalls by other pages' prefill are in it. Needs simpy.

    `first_batch` pages decode when it begins, each at a random point; near the mean batch it shortens the way there.
    """
    if not 0 < rate < float("inf"):
        raise ModelMeterError(f"simulate(): the rate must be positive, got {rate} pages/s")
    server.check(mix)
    sampling = (sampling or Sampling()).at_least(server.slots(mix))
    batch = min(round(first_batch), server.slots(mix))
    runs: list[dict[str, float]] = []
    while len(runs) < sampling.most:
        runs.append(_replicate(mix, server, times, rate, sampling, batch, len(runs)))
        if len(runs) >= sampling.least and all(
            estimate([run[name] for run in runs]).relative <= sampling.relative
            for name in ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")
        ):
            break
    means = {name: estimate([run[name] for run in runs]) for name in runs[0]}
    return Measured(
        rate=rate,
        busy={stage: means.pop(stage).mean for stage in STAGES},
        replications=len(runs),
        **means,
    )


def simulate_saturated(mix: PageMix, server: Server, times: ServiceTimes, sampling: Sampling | None = None) -> Estimate:
    """Pages a second that leave one GPU when pages always wait for it: the host is taken to keep up.

    It begins with every slot taken, each page at a random point of its decoding, so that equal pages do not end all at
    once.
    """
    server.check(mix)
    sampling = sampling or Sampling()
    runs = [_saturate(mix, server, times, sampling, replication) for replication in range(sampling.least)]
    return estimate(runs)


def _saturate(mix: PageMix, server: Server, times: ServiceTimes, sampling: Sampling, replication: int) -> float:
    env = _simpy().Environment()
    gpu = SimulatedGPU(env, mix, server, times)
    random = np.random.default_rng([sampling.seed, replication])
    slots = server.slots(mix)
    for page, steps in _half_way(mix, slots, random):
        gpu.resume(page, steps)
    count = max(sampling.pages, 4 * slots) + 2 * slots
    kinds = random.choice(len(mix.kinds), count, p=mix.shares).tolist()
    tokens = random.choice(mix.outputs.values, count, p=mix.token_shares).tolist()
    pages = [
        Page(kind, mix.kinds[kind].context, number, mix.blocks(kind, number), 0.0)
        for kind, number in zip(kinds, tokens, strict=True)
    ]
    gpu.waiting.extend(pages)
    env.run(until=env.process(gpu.run_until_empty()))
    ends = sorted(page.done for page in pages)
    start, end = slots, count - slots  # once all who began half-way are gone, and while pages still wait
    return (end - start) / (ends[end - 1] - ends[start - 1])


def _replicate(
    mix: PageMix, server: Server, times: ServiceTimes, rate: float, sampling: Sampling, batch: int, replication: int
) -> dict[str, float]:
    """One run: what it measured, by name."""
    simpy = _simpy()
    env = simpy.Environment()
    gpu = SimulatedGPU(env, mix, server, times)
    random = np.random.default_rng([sampling.seed, replication])
    for page, steps in _half_way(mix, batch, random):
        gpu.resume(page, steps)
    env.process(gpu.run())
    source = _Source(env, gpu, simpy.Resource(env, server.host_workers), rate, sampling)
    env.process(source.run(random))
    env.run(until=source.window_over)
    while any(page.done != page.done for page in source.measured):
        env.run(until=env.now + 1 / rate * _DRAWN_AT_ONCE / 8)  # arrivals go on: the last measured pages have company
    return {**source.rates(), **_latencies(source.measured)}


def _half_way(mix: PageMix, count: int, random: np.random.Generator) -> Iterator[tuple[Page, int]]:
    """Pages at random points of their decoding, and the steps behind them; long pages are met more often."""
    if mix.steps == 0:
        return
    lengths = mix.token_shares * (mix.tokens - 1)
    kinds = random.choice(len(mix.kinds), count, p=mix.shares).tolist()
    tokens = random.choice(mix.outputs.values, count, p=lengths / lengths.sum()).tolist()
    for kind, number, share in zip(kinds, tokens, random.random(count).tolist(), strict=True):
        yield Page(kind, mix.kinds[kind].context, number, mix.blocks(kind, number), 0.0), int(share * (number - 1))


def _latencies(pages: list[Page]) -> dict[str, float]:
    ttft = np.array([page.first - page.arrived for page in pages])
    tpot = np.array([(page.done - page.first) / (page.tokens - 1) for page in pages if page.tokens > 1] or [0.0])
    return {
        "ttft_mean": float(ttft.mean()),
        "ttft_p95": float(np.quantile(ttft, 0.95)),
        "tpot_mean": float(tpot.mean()),
        "tpot_p95": float(np.quantile(tpot, 0.95)),
    }


class _Source:
    """Pages arrive (Poisson), pass the host, and go to the GPU."""

    def __init__(
        self, env: "simpy.Environment", gpu: SimulatedGPU, host: "simpy.Resource", rate: float, sampling: Sampling
    ) -> None:
        self.env, self.gpu, self.host, self.rate, self.sampling = env, gpu, host, rate, sampling
        self.pages: list[Page] = []
        self.window_over = env.event()
        self._counters: list[dict[str, float]] = []  # at the start and the end of the window
        self._host_seconds = [gpu.times.host_seconds(kind) for kind in range(len(gpu.mix.kinds))]

    @property
    def measured(self) -> list[Page]:
        """The pages after the warm-up."""
        start = self.sampling.warm_up
        return self.pages[start : start + self.sampling.pages]

    def run(self, random: np.random.Generator) -> "Generator[simpy.Event, Any, None]":
        """Arrivals, for ever."""
        mix = self.gpu.mix
        while True:
            gaps = random.exponential(1 / self.rate, _DRAWN_AT_ONCE)
            kinds = random.choice(len(mix.kinds), _DRAWN_AT_ONCE, p=mix.shares)
            tokens = random.choice(mix.outputs.values, _DRAWN_AT_ONCE, p=mix.token_shares)
            for gap, kind, count in zip(gaps.tolist(), kinds.tolist(), tokens.tolist(), strict=True):
                yield self.env.timeout(gap)
                self._arrive(kind, count)

    def _arrive(self, kind: int, tokens: int) -> None:
        mix, arrived = self.gpu.mix, len(self.pages)
        if arrived in (self.sampling.warm_up, self.sampling.warm_up + self.sampling.pages):
            counters = {"time": self.env.now, "batch": self.gpu.batch_seconds, "completed": float(self.gpu.completed)}
            self._counters.append({**counters, **self.gpu.busy})
            if len(self._counters) == 2:
                self.window_over.succeed()
        page = Page(kind, mix.kinds[kind].context, tokens, mix.blocks(kind, tokens), self.env.now)
        self.pages.append(page)
        if self._host_seconds[kind]:
            self.env.process(self._prepare(page))
        else:
            self.gpu.submit(page)

    def _prepare(self, page: Page) -> "Generator[simpy.Event, Any, None]":
        with self.host.request() as worker:
            yield worker
            yield self.env.timeout(self._host_seconds[page.kind])
        self.gpu.submit(page)

    def rates(self) -> dict[str, float]:
        """Throughput, mean batch and shares of time, between the arrivals of the first and last measured page."""
        start, end = self._counters
        seconds = end["time"] - start["time"]
        shares = {stage: (end[stage] - start[stage]) / seconds for stage in STAGES}
        return {
            "throughput": (end["completed"] - start["completed"]) / seconds,
            "mean_batch": (end["batch"] - start["batch"]) / seconds,
            **shares,
        }


def _simpy() -> Any:
    try:
        import simpy
    except ImportError as error:
        raise ModelMeterError(
            "the simulation needs simpy: pip install 'modelmeter[plan]', or ask for the closed form alone"
        ) from error
    return simpy
