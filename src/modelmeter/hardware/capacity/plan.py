"""`plan_device`: GPUs of one kind, their cost and energy, for a number of pages a day under latency limits."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

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
from modelmeter.hardware.machine import Execution, Machine
from modelmeter.hardware.memory import DEFAULT_RESERVE, Share, memory_budget
from modelmeter.hardware.roofline import AnyDevice, machine_of
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel

SECONDS_A_DAY = 86_400
MILLION = 1_000_000
LEAST_PAGES_A_DAY: Final = 1
MOST_PAGES_A_DAY: Final = 1e12
"""Demands that are planned for: the most is more than a hundred pages a day for everyone alive."""
MOST_PRICE: Final = 1e9
"""An hour of one GPU, in any currency."""
REPORTED = Sampling(seed=20260102)
"""Of the simulation whose latencies are reported: other random numbers than those that chose the rate."""
_HARDLY = 1e-3  # share of saturation
_LESS_LOAD = 1.02  # GPUs are added in these steps until the reported simulation keeps the limits too
LATENCIES = ("ttft_mean", "ttft_p95", "tpot_mean", "tpot_p95")
AGREEMENT = 0.10
"""Simulation and closed form agree on latency where they differ by no more than this share of the simulation's."""
SLOTS_SHORT: Final = 0.01
"""Share of the time with every slot taken beyond which pages wait for slots so often that the closed form is unsure."""
SHORT_TTFT: Final = 0.70
"""By how much its TTFT was then too short at worst: bench/results/plan-accuracy.json, rows beyond `SLOTS_SHORT`."""
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
    def unsure(self) -> bool:
        """Whether it is the closed form's alone, and pages wait for slots: it may be `SHORT_TTFT` short then."""
        return self.measured is None and self.predicted is not None and self.predicted.blocked > SLOTS_SHORT

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
    execution: Execution
    level: str
    fleet: Fleet | None = None
    impossible: str | None = None


def serving_machine(device: AnyDevice, *files: str | Path, execution: Execution | None = None) -> Machine:
    """A device as an engine runs it: in graphs unless told otherwise; a CPU launches each kernel itself, eagerly.

    `files` are device files to look in.
    """
    machine = machine_of(device, *files, execution="graph" if execution is None else execution)
    return attrs.evolve(machine, execution="eager") if execution is None and machine.synchronous else machine


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
    plan = DevicePlan(device=machine.device, execution=machine.execution, level=level)
    try:
        fleet = _fleet(model, machine, pages, mix, pages_per_day / SECONDS_A_DAY, limits, running, price)
    except Impossible as reason:
        return attrs.evolve(plan, impossible=str(reason))
    return attrs.evolve(plan, fleet=fleet)


def check_demand(model: DeepseekOCRModel, mix: PageMix, pages_per_day: float, price: float | None) -> None:
    """Raise for a demand, a price or a length that cannot be."""
    if not LEAST_PAGES_A_DAY <= pages_per_day <= MOST_PAGES_A_DAY:
        raise ModelMeterError(
            f"pages a day must be a number from {LEAST_PAGES_A_DAY} to {MOST_PAGES_A_DAY:,.0f}, got {pages_per_day:g}"
        )
    if price is not None and not 0 <= price <= MOST_PRICE:
        raise ModelMeterError(f"a price must be from 0 to {MOST_PRICE:,.0f} an hour, got {price:g}")
    longest = max(kind.context for kind in mix.kinds) + max(mix.outputs.values)
    if model.config is not None and longest > model.config.decoder.max_position_embeddings:
        raise ModelMeterError(
            f"the longest page takes {longest} tokens, the model has {model.config.decoder.max_position_embeddings} "
            "positions: give fewer tokens of output or prompt"
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
    chunked = running.policy == "chunked"
    most = min(running.max_batch, running.token_budget - 1) if chunked else running.max_batch
    budget = memory_budget(machine.device, model.parameter_bytes(), reserve=running.reserve)
    room = room_for(model, machine.device, budget, pages, mix, most_batch=most, prefill_batch=running.prefill_batch)
    server = running.server(room.batch, room.kv_blocks)
    times = ModelTimes.of(model, machine, pages, mix, server)
    gpu = Search(mix, server, times, limits, simulated=running.simulated).run(memory_limited=room.limited)
    gpu, gpus, steady = _enough(mix, gpu, times, needed, limits, simulated=running.simulated)
    return Fleet(
        room=room,
        gpu=gpu,
        gpus=gpus,
        steady=steady,
        stages=_stages(times, mix, steady, gpu.server.max_batch),
        pages_per_second=needed,
        price=price,
        power_watts=machine.device.power_watts,
    )


def _enough(
    mix: PageMix, gpu: Sustained, times: ModelTimes, needed: float, limits: Limits, *, simulated: bool
) -> tuple[Sustained, int, Steady]:
    """(one GPU, how many, the state of each): as many as the rate takes, more until the limits hold as reported."""
    gpus = max(1, math.ceil(needed / gpu.rate - 1e-9))
    steady = steady_state(mix, gpu, times, needed / gpus, simulated=simulated)
    while steady.measured is not None and limits.broken(steady.measured):
        gpus = math.ceil(gpus * _LESS_LOAD)
        if needed / gpus < _HARDLY * gpu.saturation:
            raise Impossible(f"at hardly any load {limits.broken(steady.measured)[0].upper()} is still above its limit")
        gpu = attrs.evolve(gpu, rate=min(gpu.rate, needed / gpus))
        steady = steady_state(mix, gpu, times, needed / gpus, simulated=simulated)
    return gpu, gpus, steady


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
