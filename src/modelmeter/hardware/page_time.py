"""The time of a page: host work, vision and prefill to the first token, then token by token, at each labelled level."""

import math
from collections.abc import Mapping
from copy import copy
from typing import Any, Final, Literal, TypeAlias

import attrs
import numpy as np

from modelmeter.core.cost import Cost
from modelmeter.core.dims import Dim, as_dim, exact_plus, exact_times
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.trace import Trace
from modelmeter.hardware.device import Device
from modelmeter.hardware.floor import Floor, floor_of, matrix_seconds
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.roofline import AnyDevice, machine_of
from modelmeter.hardware.timeline import Span, Timeline
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan

LevelName: TypeAlias = Literal["bound", "roofline", "calibrated"]
LEVELS: Final[tuple[LevelName, ...]] = ("bound", "roofline", "calibrated")

MOST_STEPS: Final = 1_000_000
WANTED_TTFT: Final = 1.0
WANTED_TPOT: Final = 0.05
"""Seconds that required rates are asked for where no one says others: a page that waits for a reader."""


@attrs.frozen(kw_only=True)
class Levels:
    """Seconds at each level, never mixed; `calibrated` is None for a device that was not calibrated."""

    bound: float = 0.0
    roofline: float = 0.0
    calibrated: float | None = None

    @property
    def predicted(self) -> float:
        """What to expect: the calibrated time where there is one, else the roofline's."""
        return self.roofline if self.calibrated is None else self.calibrated

    def __add__(self, other: "Levels") -> "Levels":
        both = None
        if self.calibrated is not None and other.calibrated is not None:
            both = self.calibrated + other.calibrated
        return Levels(bound=self.bound + other.bound, roofline=self.roofline + other.roofline, calibrated=both)

    def __mul__(self, times: float) -> "Levels":
        scaled = None if self.calibrated is None else self.calibrated * times
        return Levels(bound=self.bound * times, roofline=self.roofline * times, calibrated=scaled)


@attrs.frozen(kw_only=True)
class StageTime:
    """One stage on a device: its cost, what it needs, its timelines, and the seconds at each level.

    `used_bytes` are the weights it uses, once, and the cache it reads and writes, once; `parts` are sam, clip, ... at
    the predicted level and add up to `seconds.predicted`.
    """

    device: Device
    cost: Cost
    floor: Floor
    used_bytes: Dim
    roofline: Timeline
    calibrated: Timeline | None
    parts: dict[str, Span]

    @property
    def timeline(self) -> Timeline:
        """The calibrated timeline where there is one, else the roofline's."""
        return self.roofline if self.calibrated is None else self.calibrated

    @property
    def seconds(self) -> Levels:
        """Seconds at each level."""
        return Levels(
            bound=float(self.floor.seconds(self.device)),
            roofline=float(self.roofline.seconds),
            calibrated=None if self.calibrated is None else float(self.calibrated.seconds),
        )

    @property
    def bound_by(self) -> Literal["FLOPs", "bytes"]:
        """Which of the two the bound is of."""
        is_flops = self.floor.matrix_seconds(self.device) >= self.floor.memory_seconds(self.device)
        return "FLOPs" if is_flops else "bytes"

    @property
    def mfu(self) -> float:
        """Model FLOPs utilisation at the predicted level: needed FLOPs / (dense peak * time)."""
        return mfu(self.floor.flops_by_dtype, self.device, self.seconds.predicted)

    @property
    def mbu(self) -> float:
        """Model bandwidth utilisation: (used weights once + KV cache) / (bandwidth * time)."""
        return mbu(self.used_bytes, self.device, self.seconds.predicted)


def mfu(needed_flops: Mapping[str, Dim], device: Device, seconds: float) -> float:
    """Model FLOPs utilisation: needed matrix FLOPs, by dtype, / (dense peak * time), predicted or measured."""
    return float(matrix_seconds(needed_flops, device)) / seconds


def mbu(used_bytes: Dim, device: Device, seconds: float) -> float:
    """Model bandwidth utilisation: (used weights once + KV cache) / (bandwidth * time), predicted or measured."""
    return float(used_bytes / (device.bandwidth * seconds))


@attrs.frozen(kw_only=True)
class Rates:
    """What a device has to deliver: FLOP/s and bytes/s for a cost in a wanted time."""

    flops: float
    num_bytes: float


def _host_seconds(instance: Any, attribute: "attrs.Attribute[float]", value: float) -> None:
    if not 0 <= value < math.inf:
        raise ModelMeterError(f"host seconds are {value}: give 0 or more")


@attrs.frozen(kw_only=True)
class PageTime:
    """`batch_size` equal pages at once: `host` seconds, then `prefill` (vision included), then the decode steps.

    `decode` is the first step; `steps` the seconds of all of them, by level, each an array of `decode_tokens`.
    """

    machine: Machine
    batch_size: int
    context_len: int
    decode_tokens: int
    host_seconds: float = attrs.field(validator=_host_seconds)
    vision: StageTime
    prefill: StageTime
    decode: StageTime
    steps: dict[LevelName, np.ndarray]

    @property
    def ttft(self) -> Levels:
        """Time to first token: host work, vision, prefill. The bound is the device's alone: a host can be faster."""
        return self.prefill.seconds + self.host

    @property
    def decode_total(self) -> Levels:
        """All decode steps."""
        return Levels(**{name: float(steps.sum()) for name, steps in self.steps.items()})

    @property
    def tpot(self) -> Levels:
        """Time per output token: the mean of the decode steps; of the first one where none is run."""
        if self.decode_tokens == 0:
            return self.decode.seconds
        return self.decode_total * (1 / self.decode_tokens)

    @property
    def total(self) -> Levels:
        """From the page on disk to its last token."""
        return self.ttft + self.decode_total

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second of all sequences, from the first to the last, at the predicted level."""
        return self.batch_size / self.tpot.predicted

    @property
    def pages_per_second(self) -> float:
        """Pages a second, one batch after another with nothing overlapped, at the predicted level."""
        return self.batch_size / self.total.predicted

    def required(self, *, ttft: float | None = None, tpot: float | None = None) -> Rates:
        """Rates needed for the prefill within `ttft` (host work off), or for the first decode step within `tpot`."""
        if tpot is not None and ttft is None:
            return required_rates(self.decode.cost, tpot)
        if ttft is None or tpot is not None:
            raise ModelMeterError("required() takes ttft or tpot, one of them, in seconds")
        if ttft <= self.host_seconds:
            raise ModelMeterError(
                f"a TTFT of {ttft:g} s ends before the host has read the page ({self.host_seconds:.3g} s): allow more"
            )
        return required_rates(self.prefill.cost, ttft - self.host_seconds)

    @property
    def host(self) -> Levels:
        """The host's work on the whole batch."""
        calibrated = None if self.prefill.calibrated is None else self.host_seconds
        return Levels(roofline=self.host_seconds, calibrated=calibrated)


def required_rates(cost: Cost, seconds: float) -> Rates:
    """FLOP/s and bytes/s that do `cost` in `seconds`. Raises for a time that is not positive."""
    if not seconds > 0:
        raise ModelMeterError(f"a wanted time must be positive, not {seconds:g} s")
    return Rates(flops=float(cost.flops) / seconds, num_bytes=float(cost.io_bytes) / seconds)


def time_stage(model: DeepseekOCRModel, machine: Machine) -> StageTime:
    """The stage last started, with ints for sizes."""
    trace = model.trace()
    bare = attrs.evolve(machine, calibration=None)
    roofline = Timeline(trace, bare)
    calibrated = None if machine.calibration is None else Timeline(trace, machine)
    return StageTime(
        device=machine.device,
        cost=trace.total,
        floor=floor_of(model),
        used_bytes=used_bytes(model, trace),
        roofline=roofline,
        calibrated=calibrated,
        parts=(calibrated or roofline).split(model.engine.pieces(trace)),
    )


def used_bytes(model: DeepseekOCRModel, trace: Trace) -> Dim:
    """Bytes of the weights that the stage last started uses, once, and of the KV cache it reads and writes, once."""
    step = model.step
    kv = 0 if step.mode == "vision" else exact_times(model.kv_bytes_per_token(step.batch), step.end)
    return exact_plus(sum(trace.used_weights().values()), kv)


def time_page(
    model: DeepseekOCRModel,
    views: ViewPlan,
    device: Machine | AnyDevice,
    *,
    prompt_tokens: int = 10,
    decode_tokens: int = 512,
    batch_size: int = 1,
    host_seconds: float = 0.0,
) -> PageTime:
    """`batch_size` pages of these views, each with `prompt_tokens` of text and `decode_tokens` decode steps.

    `device` is one by name, by its file or itself (then eager), or a machine. `host_seconds` is the host's work on the
    whole batch (`hardware.host.host_seconds` says what it may be; 0: TTFT is the device's alone). The model is left in
    decode with the page's cache.
    """
    machine = device if isinstance(device, Machine) else machine_of(device)
    batch = as_dim(batch_size, "batch_size")
    context = views.image_tokens + as_dim(prompt_tokens, "prompt_tokens", least=0)
    tokens = as_dim(decode_tokens, "decode_tokens", least=0)
    if tokens > MOST_STEPS:
        raise ModelMeterError(f"decode_tokens is {tokens}: times are of at most {MOST_STEPS:,} steps, one by one")
    model.set_views(views)
    model.start_vision(batch)
    vision = time_stage(model, machine)
    model.start_prefill(context, batch)
    prefill = time_stage(model, machine)
    model.start_decode()
    decode = time_stage(model, machine)
    cached = exact_plus(context, np.arange(tokens)) if tokens else np.zeros(0)
    return PageTime(
        machine=machine,
        batch_size=batch,
        context_len=context,
        decode_tokens=tokens,
        host_seconds=float(host_seconds),
        vision=vision,
        prefill=prefill,
        decode=decode,
        steps=decode_steps(model, machine, cached, batch),
    )


def decode_steps(model: DeepseekOCRModel, machine: Machine, cached: Dim, batch: Dim) -> dict[LevelName, Any]:
    """Seconds of a decode step that finds `cached` tokens (an int or an array), at each level the machine has.

    The model is left where it was.
    """
    if isinstance(cached, np.ndarray) and cached.size == 0:
        empty = np.zeros(0)
        return {name: empty for name in LEVELS if name != "calibrated" or machine.calibration is not None}
    probe = decoding(model, cached, batch)
    trace = probe.trace()
    seconds: dict[LevelName, Any] = {
        "bound": floor_of(probe).seconds(machine.device),
        "roofline": Timeline(trace, attrs.evolve(machine, calibration=None)).seconds,
    }
    if machine.calibration is not None:
        seconds["calibrated"] = Timeline(trace, machine).seconds
    return seconds


def decoding(model: DeepseekOCRModel, cached: Dim, batch: Dim) -> DeepseekOCRModel:
    """A copy of the model at the decode step that finds `cached` tokens (an int or an array); `model` stays."""
    probe = copy(model)
    probe.set_views(None)
    probe.start_prefill(cached, batch, kv_cache=model.engine.new_cache(batch))
    probe.start_decode()
    return probe
