"""`plan_device`: GPUs of one kind, their cost and energy, for a number of pages a day under latency limits."""

import math
from collections.abc import Sequence

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.capacity.closed_form import ClosedForm, Predicted
from modelmeter.hardware.capacity.room import Impossible, Room, room_for
from modelmeter.hardware.capacity.search import Limits, Search, Sustained
from modelmeter.hardware.capacity.server import Policy, Server
from modelmeter.hardware.capacity.simulation import Measured, Sampling, simulate
from modelmeter.hardware.capacity.times import ModelTimes, PageWork
from modelmeter.hardware.capacity.workload import PageMix
from modelmeter.hardware.device import Device
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.memory import DEFAULT_RESERVE, Share, memory_budget
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

SECONDS_A_DAY = 86_400
MILLION = 1_000_000
REPORTED = Sampling(seed=20260102)
"""Of the simulation whose latencies are reported: other random numbers than those that chose the rate."""
_HARDLY = 1e-3  # share of saturation
_LESS_LOAD = 1.02  # GPUs are added in these steps until the reported simulation keeps the limits too
LATENCIES = ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")
AGREEMENT = 0.10
"""Simulation and closed form agree on latency where they differ by no more than this share of the simulation's."""
_STEADY = 0.995  # share of saturation above which a queue takes longer to settle than a simulation runs


@attrs.frozen(kw_only=True)
class Running:
    """How each GPU is run: see `Server`. `max_batch` is the most pages at once, where memory holds as many."""

    policy: Policy = "prefill-first"
    max_batch: int = 1024
    prefill_batch: int = 1
    token_budget: int = 2048
    host_workers: int = 8
    reserve: Share = DEFAULT_RESERVE
    simulated: bool = True

    def __attrs_post_init__(self) -> None:
        if self.max_batch < 1:
            raise ModelMeterError(f"max_batch must be 1 or more, got {self.max_batch}")
        self.server(1, None)  # raises for the others that cannot be

    def server(self, batch: int, kv_blocks: int | None) -> Server:
        """The server of a batch limit and a number of KV blocks."""
        return Server(
            max_batch=batch,
            policy=self.policy,
            prefill_batch=self.prefill_batch,
            token_budget=self.token_budget,
            kv_blocks=kv_blocks,
            host_workers=self.host_workers,
        )


@attrs.frozen(kw_only=True)
class Steady:
    """The steady state of one GPU at `rate` pages a second, as simulated and in closed form.

    None: not simulated; no steady state. Seconds.
    """

    rate: float
    measured: Measured | None
    predicted: Predicted | None

    def latency(self, name: str) -> float | None:
        """One of `LATENCIES`: the simulation's where there is one."""
        if self.measured is not None:
            return float(getattr(self.measured, name).mean)
        return None if self.predicted is None else float(getattr(self.predicted, name))

    @property
    def difference(self) -> float | None:
        """The largest relative difference of the two among the four latencies; None where one is missing."""
        if self.measured is None or self.predicted is None:
            return None
        both = [(getattr(self.predicted, name), getattr(self.measured, name).mean) for name in LATENCIES]
        return max(abs(formula / simulated - 1) for formula, simulated in both if simulated)

    @property
    def widest(self) -> float | None:
        """The largest half width of the latencies' 95% intervals, as a share of the mean; None: not simulated."""
        if self.measured is None:
            return None
        return max(float(getattr(self.measured, name).relative) for name in LATENCIES)

    @property
    def agrees(self) -> bool | None:
        """Whether they differ by no more than `AGREEMENT`."""
        return None if self.difference is None else self.difference <= AGREEMENT


@attrs.frozen(kw_only=True)
class Fleet:
    """What a device gives: the largest rate of one GPU, and the GPUs for the rate that is needed.

    `steady` is the state at the rate that each of them gets; `stages` the resource that each stage waits for (decode at
    the mean batch then). `price` is what a GPU costs an hour, in the currency it was given in.
    """

    room: Room
    gpu: Sustained
    gpus: int
    steady: Steady
    stages: dict[str, str]
    pages_per_second: float
    price: float | None
    power_watts: float | None

    @property
    def gpu_hours_per_million(self) -> float:
        """GPU-hours that pass while a million pages are done, idle time of the fleet included."""
        return self.gpus * MILLION / self.pages_per_second / 3600

    @property
    def cost_per_million(self) -> float | None:
        """Price of a million pages: that of all GPUs while they are done."""
        return None if self.price is None else self.gpu_hours_per_million * self.price

    @property
    def energy_per_million(self) -> float | None:
        """kWh of a million pages: an upper bound, every GPU at its full TDP all the time; the host is not in it."""
        return None if self.power_watts is None else self.gpu_hours_per_million * self.power_watts / 1000


@attrs.frozen(kw_only=True)
class DevicePlan:
    """A device's fleet, or why it cannot do what is asked."""

    device: Device
    level: str
    fleet: Fleet | None = None
    impossible: str | None = None


def plan_device(
    model: DeepseekOCRModel,
    machine: Machine,
    pages: Sequence[PageWork],
    mix: PageMix,
    *,
    pages_per_day: float,
    limits: Limits,
    running: Running,
    price: float | None = None,
) -> DevicePlan:
    """The plan for one device. Arrivals are Poisson, and each page goes to a GPU at random, so each GPU's are too.

    `pages` are the kinds of `mix`, in its order. `price` is of one GPU for an hour. Raises `ModelMeterError` for what
    no device could do.
    """
    check_demand(model, mix, pages_per_day, price)
    level = "roofline" if machine.calibration is None else "calibrated"
    try:
        fleet = _fleet(model, machine, pages, mix, pages_per_day / SECONDS_A_DAY, limits, running, price)
    except Impossible as reason:
        return DevicePlan(device=machine.device, level=level, impossible=str(reason))
    return DevicePlan(device=machine.device, level=level, fleet=fleet)


def check_demand(model: DeepseekOCRModel, mix: PageMix, pages_per_day: float, price: float | None) -> None:
    """Raise for a demand, a price or a length that cannot be."""
    if not 0 < pages_per_day < math.inf:
        raise ModelMeterError(f"pages a day must be a positive number, got {pages_per_day:g}")
    if price is not None and not 0 <= price < math.inf:
        raise ModelMeterError(f"a price must be 0 or more, got {price:g}")
    longest = max(kind.context for kind in mix.kinds) + max(mix.outputs.values)
    if model.config is not None and longest > model.config.decoder.max_position_embeddings:
        raise ModelMeterError(
            f"the longest page takes {longest} tokens, the model has {model.config.decoder.max_position_embeddings} "
            "positions: give fewer output tokens"
        )


def _fleet(
    model: DeepseekOCRModel,
    machine: Machine,
    pages: Sequence[PageWork],
    mix: PageMix,
    needed: float,
    limits: Limits,
    running: Running,
    price: float | None,
) -> Fleet:
    device = machine.device
    chunked = running.policy == "chunked"
    most = min(running.max_batch, running.token_budget - 1) if chunked else running.max_batch
    budget = memory_budget(device, model.parameter_bytes(), reserve=running.reserve)
    room = room_for(model, device, budget, pages, mix, most_batch=most, prefill_batch=running.prefill_batch)
    times = ModelTimes(
        model,
        machine,
        pages,
        most_batch=room.batch,
        most_cached=max(kind.context for kind in mix.kinds) + max(mix.outputs.values),
        most_chunk=running.token_budget if chunked else None,
    )
    server = running.server(room.batch, room.kv_blocks)
    gpu = Search(mix, server, times, limits, simulated=running.simulated).run(memory_limited=room.limited)
    gpus = max(1, math.ceil(needed / gpu.rate - 1e-9))
    steady = steady_state(mix, gpu, times, needed / gpus, simulated=running.simulated)
    while steady.measured is not None and limits.broken(steady.measured):
        gpus = math.ceil(gpus * _LESS_LOAD)
        if needed / gpus < _HARDLY * gpu.saturation:
            raise Impossible(f"at hardly any load {limits.broken(steady.measured)[0].upper()} is still above its limit")
        gpu = attrs.evolve(gpu, rate=min(gpu.rate, needed / gpus))
        steady = steady_state(mix, gpu, times, needed / gpus, simulated=running.simulated)
    return Fleet(
        room=room,
        gpu=gpu,
        gpus=gpus,
        steady=steady,
        stages=_stages(times, mix, steady, gpu.server.max_batch),
        pages_per_second=needed,
        price=price,
        power_watts=device.power_watts,
    )


def steady_state(mix: PageMix, gpu: Sustained, times: ModelTimes, rate: float, *, simulated: bool) -> Steady:
    """What one GPU does at a rate; nothing where it has no steady state."""
    form = ClosedForm(mix, gpu.server, times)
    settles = rate < _STEADY * gpu.saturation
    predicted = form.at(rate) if settles and rate < form.saturation else None
    start = 0.0 if predicted is None else predicted.mean_batch
    measured = None
    if simulated and settles:
        measured = simulate(mix, gpu.server, times, rate, REPORTED, first_batch=start)
    return Steady(rate=rate, measured=measured, predicted=predicted)


def _stages(times: ModelTimes, mix: PageMix, steady: Steady, most: int) -> dict[str, str]:
    """The resource that vision and prefill of the commonest kind, and a decode step, wait for."""
    kind = int(mix.shares.argmax())
    batch = float(most)
    if steady.measured is not None:
        batch = steady.measured.mean_batch.mean
    elif steady.predicted is not None:
        batch = steady.predicted.mean_batch
    typical = min(max(1, round(batch)), most)
    return {
        "vision": times.binds("vision", kind),
        "prefill": times.binds("prefill", kind),
        "decode": times.binds("decode", batch=typical, cached=round(mix.cached)),
    }
