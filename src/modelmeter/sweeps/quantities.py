"""What a sweep answers: each quantity by name, its unit, and what it is read from."""

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias

import attrs

from modelmeter.core.cost import Cost
from modelmeter.core.dims import Dim
from modelmeter.core.errors import ModelMeterError

Stage: TypeAlias = Literal["vision", "prefill", "decode", "run"]
STAGES: Final = ("vision", "prefill", "decode", "run")
Needs: TypeAlias = Literal["cost", "peak", "held", "views", "bound", "roofline", "predicted", "use", "run"]
"""What has to be worked out for a quantity: sums over operators; the peak of activations; what is held anyway; the view
plan; a level of time; what of the time was needed work; prefill and decode apart."""
TIMED: Final = ("bound", "roofline", "predicted", "use", "run")
FLOP, BYTE, SECOND = "FLOP", "B", "s"


@attrs.frozen(kw_only=True)
class Answer:
    """What was worked out of some points; None: it was not asked for. Seconds are those of one device and execution."""

    cost: Cost
    peak_bytes: Dim = None
    weights_bytes: Dim = None
    kv_cache_bytes: Dim = None
    bound: Any = None
    roofline: Any = None
    predicted: Any = None
    needed_seconds: Any = None
    used_bytes: Dim = None
    bandwidth: float | None = None
    prefill: Any = None
    decode: Any = None
    decode_tokens: Dim = None


@attrs.frozen(kw_only=True)
class Quantity:
    """One quantity: its unit ("1" for a pure number), its name in full, what it needs, and how it is read."""

    units: str
    long_name: str
    needs: Needs
    read: Callable[[Answer], Any]
    stages: tuple[str, ...] = STAGES

    @property
    def timed(self) -> bool:
        """Whether it is of a device."""
        return self.needs in TIMED

    @property
    def whole(self) -> bool:
        """Whether it is a whole number."""
        return self.units in (FLOP, BYTE)


def _cost(name: str, units: str, long_name: str) -> Quantity:
    return Quantity(units=units, long_name=long_name, needs="cost", read=lambda answer: getattr(answer.cost, name))


QUANTITIES: Final = {
    "flops": _cost("flops", FLOP, "FLOPs, a multiply-add is 2"),
    "tensor_flops": _cost("tensor_flops", FLOP, "FLOPs on tensor cores"),
    "cuda_flops": _cost("cuda_flops", FLOP, "FLOPs on CUDA cores"),
    "counted_flops": _cost("counted_flops", FLOP, "FLOPs that torch's FlopCounterMode sees"),
    "weight_read_bytes": _cost("weight_read_bytes", BYTE, "weights read"),
    "activation_read_bytes": _cost("activation_read_bytes", BYTE, "activations read"),
    "activation_write_bytes": _cost("activation_write_bytes", BYTE, "activations written"),
    "kv_read_bytes": _cost("kv_read_bytes", BYTE, "KV cache read"),
    "kv_write_bytes": _cost("kv_write_bytes", BYTE, "KV cache written"),
    "activation_bytes": _cost("activation_bytes", BYTE, "activations moved"),
    "kv_bytes": _cost("kv_bytes", BYTE, "KV cache moved"),
    "io_bytes": _cost("io_bytes", BYTE, "bytes moved"),
    "arithmetic_intensity": _cost("arithmetic_intensity", "FLOP/B", "FLOPs per byte moved"),
    "activation_peak_bytes": Quantity(
        units=BYTE, long_name="activations alive at once, at most", needs="peak", read=lambda answer: answer.peak_bytes
    ),
    "weights_bytes": Quantity(
        units=BYTE, long_name="weights resident", needs="held", read=lambda answer: answer.weights_bytes
    ),
    "kv_cache_bytes": Quantity(
        units=BYTE, long_name="KV cache held", needs="held", read=lambda answer: answer.kv_cache_bytes
    ),
    "resident_bytes": Quantity(
        units=BYTE,
        long_name="weights, KV cache and the peak of activations",
        needs="peak",
        read=lambda answer: answer.weights_bytes + answer.kv_cache_bytes + answer.peak_bytes,
    ),
    "bound_seconds": Quantity(
        units=SECOND, long_name="time that nothing can beat", needs="bound", read=lambda answer: answer.bound
    ),
    "roofline_seconds": Quantity(
        units=SECOND, long_name="time by roofline", needs="roofline", read=lambda answer: answer.roofline
    ),
    "seconds": Quantity(
        units=SECOND,
        long_name="predicted time: calibrated where the device is, else by roofline",
        needs="predicted",
        read=lambda answer: answer.predicted,
    ),
    "mfu": Quantity(
        units="1",
        long_name="model FLOPs utilisation at the predicted time",
        needs="use",
        read=lambda answer: answer.needed_seconds / answer.predicted,
        stages=("vision", "prefill", "decode"),
    ),
    "mbu": Quantity(
        units="1",
        long_name="model bandwidth utilisation at the predicted time",
        needs="use",
        read=lambda answer: answer.used_bytes / (answer.bandwidth * answer.predicted),
        stages=("vision", "prefill", "decode"),
    ),
    "ttft_seconds": Quantity(
        units=SECOND,
        long_name="predicted time to first token, the host's work left out",
        needs="run",
        read=lambda answer: answer.prefill,
        stages=("run",),
    ),
    "tpot_seconds": Quantity(
        units=SECOND,
        long_name="predicted time per output token",
        needs="run",
        read=lambda answer: answer.decode / answer.decode_tokens,
        stages=("run",),
    ),
}
VIEW_QUANTITIES: Final = {
    "image_tokens": ("1", "image tokens"),
    "num_tiles": ("1", "tiles"),
}
"""What follows from the views alone: (unit, name in full)."""


def choose(stage: str, names: Any, *, timed: bool, single_pass: bool) -> tuple[str, ...]:
    """The quantities asked for, all that apply where none are named.

    `timed`: there is a device; `single_pass`: no sum of decode steps. Raises `ModelMeterError` for a stage or a
    quantity that is unknown or does not apply.
    """
    if stage not in STAGES:
        raise ModelMeterError(f"sweep: unknown stage {stage!r}: choose among {', '.join(STAGES)}")
    if names is None:
        return tuple(name for name in QUANTITIES if _why_not(stage, name, timed=timed, single_pass=single_pass) is None)
    if not isinstance(names, str | Iterable):
        raise ModelMeterError(f"sweep: quantities is {names!r}: give a list of names")
    asked = [names] if isinstance(names, str) else list(names)
    for name in asked:
        if not isinstance(name, str) or name not in QUANTITIES:
            raise ModelMeterError(f"sweep: unknown quantity {name!r}: choose among {', '.join(QUANTITIES)}")
        reason = _why_not(stage, name, timed=timed, single_pass=single_pass)
        if reason is not None:
            raise ModelMeterError(f"sweep: {name} {reason}")
    if not asked:
        raise ModelMeterError("sweep: no quantities: name one or more, or leave quantities out for all")
    return tuple(dict.fromkeys(asked))


def _why_not(stage: str, name: str, *, timed: bool, single_pass: bool) -> str | None:
    """Why a quantity does not apply; None: it does."""
    quantity = QUANTITIES[name]
    if stage not in quantity.stages:
        return f"is not of the stage {stage}: it is of {', '.join(quantity.stages)}"
    if quantity.timed and not timed:
        return "needs a device: give device="
    if quantity.needs == "use" and not single_pass:
        return "is of one forward pass: leave decode_tokens out"
    return None
