"""`Machine`: a device, how the model is executed on it, and what one operator takes there."""

from functools import cached_property
from typing import Final, Literal, NamedTuple, TypeAlias

import attrs

from modelmeter.core.dims import Dim, maximum, minimum
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.hardware.device import Device
from modelmeter.hardware.efficiency import PERFECT, Calibration, Efficiency
from modelmeter.hardware.products import quantisation

Execution: TypeAlias = Literal["eager", "graph", "fused"]
EXECUTIONS: Final[tuple[Execution, ...]] = ("eager", "graph", "fused")
EAGER_HOST_SECONDS: Final = 5e-6
"""Host time of one kernel launched from Python, where neither data sheet nor calibration says: an assumption, the low
end of the 5 to 25 us that PyTorch's dispatch and a CUDA launch take; stated wherever it is used."""
RATE_OF: Final = {
    "bf16": ("bf16", "fp16", "tf32", "fp32"),
    "fp16": ("fp16", "bf16", "tf32", "fp32"),
    "fp8": ("fp8", "bf16", "fp16", "tf32", "fp32"),
    "int8": ("int8", "bf16", "fp16", "tf32", "fp32"),
}
"""In which formats a device may compute a product: its own, or one that holds its values where that is there, or faster
(int8 products on a B300 are)."""


class Terms(NamedTuple):
    """Seconds of one operator on each resource: they overlap, so the longest counts; `fixed` comes on top."""

    tensor: Dim
    vector: Dim
    memory: Dim
    fixed: Dim

    @property
    def seconds(self) -> Dim:
        """What the device is busy."""
        return maximum(maximum(self.tensor, self.vector), self.memory) + self.fixed


@attrs.frozen(kw_only=True)
class Machine:
    """A device and a mode of execution: "eager" (each kernel launched from Python), "graph" (no host, kernels back to
    back), "fused" (elementwise operators and copies joined to their neighbours: no launch, no activation traffic).

    With `calibration` rates are what kernels reach. `host_seconds` is the host's time a kernel in eager execution.
    """

    device: Device
    execution: Execution = "eager"
    calibration: Calibration | None = None
    given_host_seconds: float | None = None

    def __attrs_post_init__(self) -> None:
        if self.execution not in EXECUTIONS:
            raise ModelMeterError(f"execution {self.execution!r}: choose {', '.join(EXECUTIONS)}")
        given = self.given_host_seconds
        if given is not None and not 0 <= given < 1:
            raise ModelMeterError(f"host seconds a kernel are {given}: give 0 or more, less than 1")

    @property
    def synchronous(self) -> bool:
        """The host itself computes: nothing runs ahead."""
        return self.device.kind == "cpu"

    @cached_property
    def host_seconds(self) -> float:
        """Host time of one kernel: none in a graph."""
        if self.execution != "eager":
            return 0.0
        if self.given_host_seconds is not None:
            return self.given_host_seconds
        if self.calibration is not None:
            return self.calibration.host_seconds
        return EAGER_HOST_SECONDS if self.device.launch_seconds is None else self.device.launch_seconds

    def computes_in(self, dtype: str) -> str:
        """The format in which products of `dtype` are computed here: of those that hold its values the fastest."""
        formats = [name for name in RATE_OF.get(dtype, (dtype,)) if name in self.device.peaks]
        if not formats:
            raise ModelMeterError(
                f"device {self.device.name} has no rate for products in {dtype}: add one of "
                f"{', '.join(RATE_OF.get(dtype, (dtype,)))} to its peaks"
            )
        return max(formats, key=lambda name: self.device.peaks[name])  # the first of equals

    def terms(self, op: Op) -> Terms:
        """What the operator takes on each resource, all its launches together."""
        _, cuda, _, weights, read, written, kv_read, kv_written = op.numbers
        reached = PERFECT if self.calibration is None else self.calibration.of(op)
        joined = self.execution == "fused" and op.kind in ("elementwise", "move")
        activations = 0 if joined else read + written
        traffic = (weights + kv_read + kv_written) / self.device.bandwidth + self._activation_seconds(activations)
        fixed = 0.0 if joined else reached.fixed(op)
        tensor, vector = self._tensor(op, reached.executed(op), reached), self._vector(cuda, reached.vector)
        if op.kind == "fused" and not self._has_matrix_units(op):  # its products and the rest share the vector units
            tensor, vector = tensor + self._vector(cuda, reached.tensor), 0.0
        terms = tensor, vector, traffic / reached.memory
        if reached.overlap == 1:
            return Terms(*terms, fixed)
        stretch = reached.stretch(*terms)
        return Terms(terms[0] * stretch, terms[1] * stretch, terms[2] * stretch, fixed)

    def launches(self, op: Op) -> Dim:
        """Kernels that the host launches for it."""
        return 0 if self.execution == "fused" and op.kind in ("elementwise", "move") else op.launches

    def _tensor(self, op: Op, flops: Dim, reached: Efficiency) -> Dim:
        if type(flops) is int and flops == 0:
            return 0.0
        seconds = flops / (self.device.peaks[self.computes_in(op.dtype.name)] * reached.tensor)
        if self.device.multiprocessors is None or not self._has_matrix_units(op):
            return seconds  # vector units have no tiles
        tiled = seconds * quantisation(op, self.device.multiprocessors)
        rate = self.device.vector.get("fp32")
        if rate is None or self.calibration is not None:
            return tiled
        return minimum(tiled, flops / rate)  # a product of one row is faster on the vector units than in padded tiles

    def _has_matrix_units(self, op: Op) -> bool:
        """Whether products of an operator run on units of their own."""
        return self.computes_in(op.dtype.name) in self.device.tensor

    def _vector(self, flops: Dim, share: float) -> Dim:
        rate = self.device.vector.get("fp32")
        return 0.0 if rate is None else flops / (rate * share)

    def _activation_seconds(self, num_bytes: Dim) -> Dim:
        """Activations of one operator that fit the last-level cache move at its bandwidth, where that was measured.

        Few data sheets name that bandwidth: beside devices without one, a stated one would compare unlike with unlike.
        """
        bandwidth, l2, size = self.device.bandwidth, self.device.l2_bandwidth, self.device.l2_bytes
        if l2 is None or size is None or self.device.calibration is None:
            return num_bytes / bandwidth
        fits = num_bytes <= size
        return num_bytes * (fits / l2 + (1 - fits) / bandwidth)
