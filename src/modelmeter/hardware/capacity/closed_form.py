"""Latency and throughput of one GPU in closed form; docs/capacity.md derives the formulas."""

import math
from functools import cached_property

import attrs
import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.server import Server, ServiceTimes
from modelmeter.hardware.capacity.waiting import Grid, erlang_c
from modelmeter.hardware.capacity.workload import Floats, PageMix

_GROUPS = 12  # of output lengths
_TOGETHER = 0.6124  # = (1/2) / sqrt(2/3): correlation of the stalls in a page's life with its mean number of companions


@attrs.frozen(kw_only=True)
class Predicted:
    """Steady state of one GPU at `rate` pages a second: seconds; the load is the rate over the saturation rate."""

    rate: float
    load: float
    ttft_mean: float
    ttft_p95: float
    tpot_mean: float
    tpot_p95: float
    mean_batch: float
    blocked: float


class ClosedForm:
    """The closed form for one workload, server and device.

    Decoding pages share the GPU as in a processor-sharing queue whose speed depends on their number; prefill takes the
    GPU from them by non-preemptive priority. `prefill_batch` is taken as 1: at load, pages are let in one by one.
    """

    def __init__(self, mix: PageMix, server: Server, times: ServiceTimes) -> None:
        self.mix, self.server, self.times = mix, server.check(mix), times
        self.slots = server.slots(mix)
        kinds, batches = range(len(mix.kinds)), range(1, self.slots + 1)
        self._host_times = np.array([times.host_seconds(kind) for kind in kinds])
        self._decode = np.array([times.decode_seconds(batch, mix.cached) for batch in batches])
        # _occupied[b, k]: seconds that the prefill of a page of kind k takes with b pages decoding;
        # _stalled[b, k]: those by which it delays each of them, beyond the tokens they get meanwhile.
        if server.policy == "prefill-first":
            whole = np.array([times.prefill_seconds(kind, 1) for kind in kinds])
            self._occupied = np.tile(whole, (self.slots + 1, 1))
            self._stalled = self._occupied
        else:
            found = [[self._chunked(kind, b) for kind in kinds] for b in range(self.slots + 1)]
            self._occupied, self._stalled, self._chunks = np.moveaxis(np.array(found), 2, 0)

    def _chunked(self, kind: int, batch: int) -> tuple[float, float, float]:
        """(seconds occupied, seconds stalled, steps) of the vision and the chunks of a page."""
        occupied = self.times.vision_seconds(kind, 1)
        plain = self._decode[batch - 1] if batch else 0.0
        past, context, steps = 0, self.mix.kinds[kind].context, 0
        while past < context:
            chunk = min(context - past, self.server.token_budget - batch)
            occupied += self.times.mixed_seconds(batch, self.mix.cached if batch else 0.0, chunk, past)
            past, steps = past + chunk, steps + 1
        return occupied, occupied - steps * plain, float(steps)

    @property
    def saturation(self) -> float:
        """Pages a second beyond which a queue grows for ever: that of the GPU or of the host, the smaller."""
        return min(self.gpu_saturation, self.host_saturation)

    @cached_property
    def host_saturation(self) -> float:
        """Pages a second that the host's workers read and resize; infinite where that takes no time."""
        mean = float(self.mix.shares @ self._host_times)
        return self.server.host_workers / mean if mean else math.inf

    @cached_property
    def gpu_saturation(self) -> float:
        """Pages a second that the GPU finishes when pages always wait, so that every slot is taken.

        Prefill-first: 1 / (stall + decode steps x step(B) / B). Chunked: the steps with a chunk decode B - 1 pages, the
        rest B; where a page has more chunks than its share of decode steps, the batch stays where they are as many.
        """
        shares, steps = self.mix.shares, self.mix.steps
        last = float(self._decode[-1])
        if self.server.policy == "prefill-first":
            return 1 / (float(self._occupied[-1] @ shares) + steps * last / self.slots)
        chunks = self._chunks @ shares
        batch = self.slots - 1
        while batch > 0 and chunks[batch] * batch > steps:
            batch -= 1
        plain = (steps - chunks[batch] * batch) / self.slots if batch == self.slots - 1 else 0.0
        return 1 / float(self._occupied[batch] @ shares + plain * last)

    def unloaded_ttft_p95(self) -> float:
        """95th percentile over kinds of the seconds to the first token of a page that meets nobody."""
        alone = self._occupied[0] + self._host_times
        order = np.argsort(alone)
        return float(alone[order][np.searchsorted(np.cumsum(self.mix.shares[order]), 0.95 - 1e-12)])

    def unloaded_tpot(self) -> float:
        """Seconds of a decode step of a page that meets nobody; 0 where no page has one."""
        return float(self._decode[0]) if self.mix.steps else 0.0

    def at(self, rate: float) -> Predicted:
        """The steady state at `rate` pages a second. Raises `ModelMeterError` at or above saturation."""
        if not 0 < rate < self.saturation:
            raise ModelMeterError(f"no steady state at {rate:g} pages/s: it is saturated at {self.saturation:g}")
        states = self._states(rate)
        grid, ttft = self._ttft(rate, states)
        mean, p95 = self._tpot(rate, states)
        return Predicted(
            rate=rate,
            load=rate / self.saturation,
            ttft_mean=grid.mean(ttft),
            ttft_p95=grid.quantile(ttft, 0.95),
            tpot_mean=mean,
            tpot_p95=p95,
            mean_batch=mean * self.mix.steps * rate,
            blocked=float(states[-1]),
        )

    def tpot_p95(self, rate: float) -> float:
        """95th percentile of TPOT alone, which is quick; `rate` is below saturation."""
        return self._tpot(rate, self._states(rate))[1]

    def _states(self, rate: float) -> Floats:
        """Probability of each number of decoding pages, the last with all who wait for a slot.

        Between prefills the clock of decoding runs 1 - rate x stall of the time, so pages come at rate / that; state b
        hands out b / step(b) tokens a second. The stationary law of this processor-sharing queue is a product, the same
        for every distribution of output tokens (Kelly, Reversibility and Stochastic Networks, 1979, section 3.3).
        On that clock those who come during one prefill come at once: Hayward's approximation for peaked arrivals.
        """
        free = np.maximum(1 - rate * self._stalled[1:] @ self.mix.shares, 1e-12)
        peaks, pages = self._peakedness(rate), np.arange(1, self.slots + 1)
        offered = rate / free * self.mix.steps * self._decode
        with np.errstate(divide="ignore"):
            logs = np.concatenate(([0.0], np.cumsum(np.log(offered / (pages + (peaks - 1) / 2)) / peaks)))
        weights = np.exp(logs - logs.max())
        tail = min(float(offered[-1]) / self.slots, 1 - 1e-9)
        full, some = float(weights[-1]) / (1 - tail), float(weights[:-1].sum())  # full: whoever waits
        taken = full / (some + full)
        if taken:  # a share of the decoding clock: of the time it is more, as each page that leaves brings a prefill
            taken = min(taken * float(free[-1]) / self._decoding, 1 - 1e-9)
        return np.append(weights[:-1] / some * (1 - taken), taken)

    def _peakedness(self, rate: float) -> Floats:
        """Variance over mean of the pages that would decode with no end of slots, for each number of them.

        Pages come to the decoding clock in busy periods of prefill: E[n^2] / E[n] of the pages of one (those of M/G/1);
        how much of it their number keeps depends on how alike the lengths are (A. A. Fredericks, Bell System Technical
        Journal 59, 1980, for constant and general holding times).
        """
        shares, stalls = self.mix.shares, self._stalled[1:]
        load = np.minimum(rate * (stalls @ shares), 1 - 1e-12)
        clump = (1 - load**2 + rate**2 * (stalls**2 @ shares)) / (1 - load) ** 2
        return np.asarray(1 + (clump - 1) * self._alike)

    @cached_property
    def _alike(self) -> float:
        """E[the shorter of two pages' decode steps] / E[decode steps]: 1 for equal pages."""
        if self.mix.steps == 0:
            return 0.0
        order = np.argsort(self.mix.tokens)
        steps = self.mix.tokens[order] - 1
        longer = 1 - np.concatenate(([0.0], np.cumsum(self.mix.token_shares[order])[:-1]))  # share of at least that
        return float(np.diff(steps, prepend=0.0) @ longer**2) / self.mix.steps

    def _tpot(self, rate: float, states: Floats) -> tuple[float, float]:
        """(mean, 95th percentile over pages) of TPOT, seconds.

        Little's law gives the mean. About it pages differ by the companions they meet and by the prefills that stall
        them; the two go together, as the companions are those whose prefill stalled it.
        """
        steps = self.mix.steps
        if steps == 0:
            return 0.0, 0.0
        mean_batch = float(states @ np.arange(self.slots + 1))
        typical = min(max(1, round(mean_batch)), self.slots)
        stalls, shares = self._stalled[typical], self.mix.shares
        load = rate * float(stalls @ shares)
        queue = self._queue_mean(rate, states, self._occupied[typical])
        # Those who came while the page waited and was prefilled are prefilled before it goes on.
        behind = max(queue + float(self._occupied[typical] @ shares) - float(self._decode[typical - 1]), 0.0)
        residence = mean_batch / rate + (1 - states[-1]) * load * behind / (1 - load)
        mean = float(residence / steps)
        among, memory = self._companions(states, mean_batch, float(self._peakedness(rate)[typical - 1]))
        stalling = rate * mean * float(stalls**2 @ shares)
        lengths = self._lengths[0]
        variances = np.array([among * _averaging(memory * length / steps) for length in lengths])
        spread = np.sqrt(variances + stalling / lengths + 2 * _TOGETHER * np.sqrt(variances * stalling / lengths))
        p95 = _normal_mixture_p95(mean, spread / (1 - load), self._lengths[1])
        return mean, float(max(mean, min(p95, self._longest_tpot)))

    def _companions(self, states: Floats, mean_batch: float, peakedness: float) -> tuple[float, float]:
        """(variance of the step time over the batches that pages meet, relaxation times in a mean residence).

        Peaked arrivals make the number of companions vary more, not for longer.
        """
        seconds = np.append(self._decode[0], self._decode)
        batches = np.arange(self.slots + 1)
        met = states * batches / max(mean_batch, 1e-300)  # the numbers as a page meets them, itself among them
        spread = float(states @ (batches - mean_batch) ** 2) / max(mean_batch, 1e-300)
        return float(met @ (seconds - float(met @ seconds)) ** 2), peakedness / max(spread, 1e-9)

    @cached_property
    def _lengths(self) -> tuple[Floats, Floats]:
        """(decode steps, share) of pages that have any, in at most `_GROUPS` groups from short to long."""
        order = np.argsort(self.mix.tokens)
        steps, shares = self.mix.tokens[order] - 1, self.mix.token_shares[order]
        steps, shares = steps[steps > 0], shares[steps > 0] / shares[steps > 0].sum()
        groups = np.minimum((np.cumsum(shares) - shares / 2) * _GROUPS, _GROUPS - 1).astype(np.int64)
        whole: Floats = np.bincount(groups, shares, _GROUPS).astype(np.float64)
        mean: Floats = np.bincount(groups, shares * steps, _GROUPS) / np.maximum(whole, 1e-300)
        return mean[whole > 0], whole[whole > 0]

    def _queue_mean(self, rate: float, states: Floats, service: Floats) -> float:
        """Mean wait for the GPU where slots are free: Pollaczek-Khinchine, and what is left of a decode step."""
        shares = self.mix.shares
        behind = rate * float(shares @ service**2) / 2 / max(1 - rate * float(shares @ service), 1e-12)
        step = float(states[1:] @ self._decode**2) / 2 / float(states[1:] @ self._decode) if states[0] < 1 else 0.0
        return behind + (1 - float(states[0])) * step

    @property
    def _longest_tpot(self) -> float:
        """TPOT when every slot is taken all the time, by Little's law."""
        return self.slots / self.gpu_saturation / max(self.mix.steps, 1e-300)

    def _ttft(self, rate: float, states: Floats) -> tuple[Grid, Floats]:
        """The distribution of TTFT: host, then the queue (or a slot), then the page's own vision and prefill."""
        shares = self.mix.shares
        service = self._occupied[round(float(states @ np.arange(self.slots + 1)))]
        load = min(rate * float(shares @ service), 1 - 1e-9)
        decode = np.append(0.0, self._decode)
        slot, blocked, host = self._slot_wait(rate), float(states[-1]), self._host_wait(rate)
        own = service + self._host_times
        longest = 20 * float(own.max()) / (1 - min(load, 0.98)) + 20 * float(decode[-1])
        grid = Grid(longest + 8 * slot * (blocked > 0.01) + 8 * host[1] * (host[0] > 0.01))
        queue = grid.pollaczek_khinchine(load, grid.residuals(service, shares))
        step = grid.residuals(decode, states) * (1 - states[0]) + grid.constants(np.zeros(1), states[:1])
        wait = (1 - blocked) * grid.sum(queue, step) + blocked * grid.exponential(slot)
        worker = (1 - host[0]) * grid.constants(np.zeros(1), np.ones(1)) + host[0] * grid.exponential(host[1])
        return grid, grid.sum(worker, wait, grid.constants(own, shares))

    def _slot_wait(self, rate: float) -> float:
        """Mean wait for a slot of a page that finds none: Kimura (1986) between M/M/c and Cosmetatos (1975) M/D/c.

        With all slots taken one is free every 1 / saturation seconds on average, the stall by the page that takes it
        included; of that only the decoding varies, as the output tokens do.
        """
        between, slots = 1 / self.gpu_saturation, self.slots
        load, variability = rate * between, self._variability()
        exponential = between / (1 - load)
        constant = exponential / 2
        constant *= 1 + (1 - load) * (slots - 1) * (math.sqrt(4 + 5 * slots) - 2) / (16 * load * slots)
        return (1 + variability) / (2 * variability / exponential + (1 - variability) / constant)

    @cached_property
    def _decoding(self) -> float:
        """Share of the time in which pages decode unhindered, with every slot taken."""
        return min(self.mix.steps * float(self._decode[-1]) / self.slots * self.gpu_saturation, 1.0)

    def _variability(self) -> float:
        """Squared coefficient of variation of the time between two slots that become free, as slots end at random."""
        steps, mean = self.mix.tokens - 1, self.mix.steps
        if mean == 0:
            return 0.0
        return float(self.mix.token_shares @ (steps - mean) ** 2) / mean**2 * self._decoding**2

    def _host_wait(self, rate: float) -> tuple[float, float]:
        """(share of pages that wait for a worker of the host, their mean wait): Erlang C, scaled as for M/G/c."""
        seconds, workers = self._host_times, self.server.host_workers
        mean = float(self.mix.shares @ seconds)
        if mean == 0:
            return 0.0, 0.0
        variability = float(self.mix.shares @ (seconds - mean) ** 2) / mean**2
        return erlang_c(workers, rate * mean), (1 + variability) / 2 * mean / (workers - rate * mean)


def _normal_mixture_p95(mean: float, deviations: Floats, shares: Floats) -> float:
    """The 95% point of normal distributions about one mean, each met by a share of pages."""
    low, high = mean, mean + 6 * float(deviations.max())
    parts = list(zip(deviations.tolist(), shares.tolist(), strict=True))
    for _ in range(24):
        middle = (low + high) / 2
        below = sum(
            share * math.erfc((mean - middle) / max(sigma, 1e-300) / math.sqrt(2)) / 2 for sigma, share in parts
        )
        low, high = (middle, high) if below < 0.95 else (low, middle)
    return (low + high) / 2


def _averaging(length: float) -> float:
    """Variance left of an average over a window of `length` relaxation times of exponentially fading memory."""
    return 2 * (length - 1 + math.exp(-length)) / length**2 if length > 1e-4 else 1.0
