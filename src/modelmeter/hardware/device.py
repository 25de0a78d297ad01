"""A device: what its data sheet says it can do, as numbers."""

import math
from collections.abc import Mapping
from typing import Any

import attrs

from modelmeter.core.errors import ModelMeterError

DTYPES = ("fp32", "tf32", "bf16", "fp16", "fp8", "int8", "fp4")
"""The number formats that a peak may be of, widest first."""
KINDS = ("gpu", "accelerator", "soc", "cpu")


@attrs.frozen(kw_only=True)
class Link:
    """The way to other devices (or to the host): its name; bytes/s of both directions added, as data sheets do."""

    name: str
    bandwidth: float


def _copy(value: Mapping[str, Any]) -> dict[str, Any]:
    return dict(value)


@attrs.frozen(kw_only=True)
class Device:
    """A device's rates and sizes. Rates are DENSE peaks in FLOP/s (int8: operations/s); sizes are bytes.

    `tensor` are the matrix units (with fp32 accumulation), `vector` all others; `l2_bytes` is the last cache that the
    whole device shares. `sources` names the document of each field, `verified` the fields that were read in it.
    `calibration` is the table of a calibrated device file as it stands there. Two devices are equal when all fields
    are; they hash by name. Raises `ModelMeterError` for a value that cannot be.
    """

    name: str
    title: str
    vendor: str | None = None
    architecture: str | None = None
    kind: str = "gpu"
    tensor: Mapping[str, float] = attrs.field(factory=dict, converter=_copy)
    vector: Mapping[str, float] = attrs.field(factory=dict, converter=_copy)
    memory_bytes: int
    bandwidth: float
    l2_bytes: int | None = None
    l2_bandwidth: float | None = None
    multiprocessors: int | None = None
    link: Link | None = None
    power_watts: float | None = None
    launch_seconds: float | None = None
    note: str | None = None
    sources: Mapping[str, str] = attrs.field(factory=dict, converter=_copy)
    verified: frozenset[str] = frozenset()
    calibration: Mapping[str, Any] | None = None

    def __attrs_post_init__(self) -> None:
        for field, value in self.numbers.items():
            if not (math.isfinite(value) and value > 0):
                raise ModelMeterError(f"device {self.name}: {field} is {value}: give a number greater than zero")
        unknown = sorted({*self.tensor, *self.vector} - set(DTYPES))
        if unknown:
            raise ModelMeterError(f"device {self.name}: unknown dtype {unknown[0]}: use one of {', '.join(DTYPES)}")
        if not self.peaks:
            raise ModelMeterError(f"device {self.name}: no peak: give tensor or vector rates of at least one dtype")
        if self.kind not in KINDS:
            raise ModelMeterError(f"device {self.name}: unknown kind {self.kind!r}: use one of {', '.join(KINDS)}")

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def peaks(self) -> dict[str, float]:
        """The larger of the tensor and the vector rate of each dtype, FLOP/s."""
        rates = [(dtype, max(self.tensor.get(dtype, 0.0), self.vector.get(dtype, 0.0))) for dtype in DTYPES]
        return {dtype: rate for dtype, rate in rates if rate}

    @property
    def numbers(self) -> dict[str, float]:
        """Every number that is known, by field: "tensor.bf16", "memory_bytes", "link.bandwidth", ..."""
        found: dict[str, float | None] = {f"tensor.{dtype}": rate for dtype, rate in self.tensor.items()}
        found |= {f"vector.{dtype}": rate for dtype, rate in self.vector.items()}
        found |= {"memory_bytes": self.memory_bytes, "bandwidth": self.bandwidth, "l2_bytes": self.l2_bytes}
        found |= {"l2_bandwidth": self.l2_bandwidth, "multiprocessors": self.multiprocessors}
        found |= {"link.bandwidth": None if self.link is None else self.link.bandwidth}
        found |= {"power_watts": self.power_watts, "launch_seconds": self.launch_seconds}
        return {field: value for field, value in found.items() if value is not None}
