"""The largest rate of one GPU under latency limits, and the batch that reaches it."""

import math
from collections.abc import Callable
from functools import cache
from typing import Final

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.closed_form import ClosedForm, Predicted
from modelmeter.hardware.capacity.room import Impossible
from modelmeter.hardware.capacity.server import Server, ServiceTimes
from modelmeter.hardware.capacity.simulation import Measured, Sampling, simulate, simulate_saturated
from modelmeter.hardware.capacity.workload import PageMix

SEARCHING = Sampling(pages=1200, warm_up=500, relative=0.05, least=3, most=6)
"""Of the simulations that look for the largest rate; what is reported is simulated again, for longer."""
LEAST_UTILISATION: Final = 0.01
_CLOSE = 0.01  # the rate is found to 1%
_SAME = 0.005  # batches whose rates differ by less are as good: the smallest is taken
_BELOW_SATURATION = 1 - 1e-6


@attrs.frozen(kw_only=True)
class Limits:
    """Limits of the 95th percentiles, seconds (None: no limit), and the largest share of the saturation rate.

    At saturation itself a queue of random arrivals grows without end, so the share is less than 1 unless asked for.
    """

    ttft: float | None = None
    tpot: float | None = None
    utilisation: float = 0.95

    def __attrs_post_init__(self) -> None:
        for name in ("ttft", "tpot"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ModelMeterError(f"the {name.upper()} limit must be positive seconds, got {value:g}")
        if not LEAST_UTILISATION <= self.utilisation <= 1:
            raise ModelMeterError(f"utilisation must be from {LEAST_UTILISATION} to 1, got {self.utilisation:g}")

    def broken(self, found: Measured | Predicted) -> list[str]:
        """The limits that a steady state may break: "ttft", "tpot". Of a simulation its interval's upper end counts."""
        ttft, tpot = found.ttft_p95, found.tpot_p95
        values = {
            "ttft": ttft if isinstance(ttft, float) else ttft.upper,
            "tpot": tpot if isinstance(tpot, float) else tpot.upper,
        }
        wanted = {"ttft": self.ttft, "tpot": self.tpot}
        return [name for name, limit in wanted.items() if limit is not None and values[name] > limit]


@attrs.frozen(kw_only=True)
class Sustained:
    """The largest rate (pages a second) that one GPU sustains, with which batch limit, and what ends it.

    `binds` is "ttft", "tpot", "host" (its workers), "memory size" (a larger batch would do more), "max batch" (the
    same of the batch asked for) or "throughput". `saturation` is the rate at which that batch is always full.
    """

    server: Server
    rate: float
    saturation: float
    binds: str


class Search:
    """The search on one device. With `simulated`, what the closed form finds is checked and corrected by simulation."""

    def __init__(self, mix: PageMix, server: Server, times: ServiceTimes, limits: Limits, *, simulated: bool) -> None:
        self.mix, self.times, self.limits, self.simulated = mix, times, limits, simulated
        self.server = server.check(mix)  # its max_batch is the most there may be
        self.form = cache(self._form)
        self._gpu_saturation = cache(self._simulate_saturated)

    def run(self, *, memory_limited: bool) -> Sustained:
        """The answer; `memory_limited` says whether memory set the server's `max_batch`. Raises `Impossible`."""
        self._check_possible()
        batch, rate = self._best_batch()
        if self.simulated and rate > 0:
            batch, rate = self._corrected(batch, rate)
        if rate <= 0:
            raise Impossible(f"no rate keeps {self._wanted()}: allow more")
        server = attrs.evolve(self.server, max_batch=batch)
        binds = self._binds(batch, rate, memory_limited)
        return Sustained(server=server, rate=rate, saturation=self._saturation(batch), binds=binds)

    @property
    def _batches(self) -> list[int]:
        """Batch limits to try: every one up to 4, then six to a doubling, and the most."""
        batch, found = 1, []
        while batch < self.server.max_batch:
            found.append(batch)
            batch = max(batch + 1, round(batch * 2 ** (1 / 6)))
        return [*found, self.server.max_batch]

    def _form(self, batch: int) -> ClosedForm:
        return ClosedForm(self.mix, attrs.evolve(self.server, max_batch=batch), self.times)

    def _check_possible(self) -> None:
        alone, limits = self.form(1), self.limits
        host = sum(share * self.times.host_seconds(kind) for kind, share in enumerate(self.mix.shares.tolist()))
        if limits.ttft is not None and limits.ttft < alone.unloaded_ttft_p95():
            raise Impossible(
                f"a TTFT of {limits.ttft:g} s is impossible: a page that meets nobody takes "
                f"{alone.unloaded_ttft_p95():.3g} s (its host work {host:.3g} s)"
            )
        if limits.tpot is not None and limits.tpot < alone.unloaded_tpot():
            raise Impossible(
                f"a TPOT of {limits.tpot:g} s is impossible: a decode step of one page takes "
                f"{alone.unloaded_tpot():.3g} s"
            )

    def _wanted(self) -> str:
        ttft, tpot = self.limits.ttft, self.limits.tpot
        parts = [*([f"TTFT <= {ttft:g} s"] if ttft else []), *([f"TPOT <= {tpot:g} s"] if tpot else [])]
        return f"{' and '.join(parts)} at the 95th percentile"

    def _best_batch(self) -> tuple[int, float]:
        """The smallest batch limit within `_SAME` of the largest rate by the closed form, and its rate."""
        most = {batch: self._rate_under_tpot(batch) for batch in self._batches}
        rates: dict[int, float] = {}
        for batch in sorted(most, key=lambda batch: -most[batch]):
            if most[batch] < (1 - _SAME) * max(rates.values(), default=0.0):
                break
            rates[batch] = self._rate_under_ttft(batch, most[batch])
        best = max(rates.values())
        return next((batch, rates[batch]) for batch in sorted(rates) if rates[batch] >= (1 - _SAME) * best)

    def _rate_under_tpot(self, batch: int) -> float:
        form, tpot = self.form(batch), self.limits.tpot
        most = min(self.limits.utilisation, _BELOW_SATURATION) * form.saturation
        return most if tpot is None else _bisect(lambda rate: form.tpot_p95(rate) <= tpot, most, 1e-3)

    def _rate_under_ttft(self, batch: int, most: float) -> float:
        form, ttft = self.form(batch), self.limits.ttft
        if ttft is None or most == 0:
            return most
        return _bisect(lambda rate: form.at(rate).ttft_p95 <= ttft, most, 2e-3)

    def _corrected(self, batch: int, rate: float) -> tuple[int, float]:
        """Where the closed form points, looked at by simulation; neighbouring batches are tried as long as they win."""
        best = self._simulated_rate(batch, rate)
        batches, tried = self._batches, {batch}
        while self.limits.ttft is not None or self.limits.tpot is not None:
            place = batches.index(batch)
            near = {batches[max(place - 1, 0)], batches[min(place + 1, len(batches) - 1)]} - tried
            higher = max(best, 1e-3 * rate) * (1 + 2 * _CLOSE)
            better = [other for other in sorted(near) if higher <= self._most(other) and self._keeps(other, higher)]
            tried |= near
            if not better:
                break
            batch = better[0]
            best = self._simulated_rate(batch, higher)
        return batch, best

    def _saturation(self, batch: int) -> float:
        """Of the host in closed form, of the GPU simulated."""
        form = self.form(batch)
        return min(self._gpu_saturation(batch), form.host_saturation) if self.simulated else form.saturation

    def _simulate_saturated(self, batch: int) -> float:
        return simulate_saturated(self.mix, self.form(batch).server, self.times, SEARCHING).mean

    def _most(self, batch: int) -> float:
        """The largest rate that the limit of utilisation allows."""
        return min(self.limits.utilisation, _BELOW_SATURATION) * self._saturation(batch)

    def _simulated_rate(self, batch: int, guess: float) -> float:
        """The largest rate that keeps the limits in simulation, from a guess; 0 where none does."""
        most = self._most(batch)
        if self.limits.ttft is None and self.limits.tpot is None:
            return most
        low, high, step = 0.0, math.inf, 0.04
        rate = most if guess > (1 - 2 * _CLOSE) * most else guess
        while high > low * (1 + _CLOSE) and rate > 1e-3 * guess:
            if self._keeps(batch, rate):
                low = rate
                if low >= most:
                    break
            else:
                high = rate
            if low and high < math.inf:
                rate = (low + high) / 2
            else:
                rate = min(low * (1 + step), most) if low else high * (1 - step)
                step *= 2 if step < 0.3 else 1
        return low

    def _keeps(self, batch: int, rate: float) -> bool:
        return not self.limits.broken(self._state(batch, rate))

    def _state(self, batch: int, rate: float) -> Measured:
        form = self.form(batch)
        start = form.at(min(rate, 0.99 * form.saturation)).mean_batch
        return simulate(self.mix, form.server, self.times, rate, SEARCHING, first_batch=start)

    def _binds(self, batch: int, rate: float, memory_limited: bool) -> str:
        """What a higher rate would break; at the most that utilisation allows, what holds the saturation rate down."""
        form, most = self.form(batch), self._most(batch)
        if rate < 0.99 * most:
            higher = min(1.03 * rate, most)
            found = self._state(batch, higher) if self.simulated else form.at(min(higher, 0.999 * form.saturation))
            return (self.limits.broken(found) or ["ttft" if self.limits.tpot is None else "tpot"])[0]
        if form.host_saturation <= form.gpu_saturation:
            return "host"
        if batch == self.server.max_batch:
            return "memory size" if memory_limited else "max batch"
        largest = self._batches[-1]
        wider = min(self.limits.utilisation, _BELOW_SATURATION) * self.form(largest).saturation
        if self.limits.tpot is not None and wider > (1 + 2 * _CLOSE) * rate:
            return "tpot"  # of the batches that would do more
        return "throughput"


def _bisect(holds: Callable[[float], bool], most: float, close: float) -> float:
    """The largest rate up to `most` for which `holds`, to a relative `close`; 0 where it does for none."""
    if holds(most):
        return most
    low, high = 0.0, most
    while high - low > close * high and high > 1e-4 * most:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
