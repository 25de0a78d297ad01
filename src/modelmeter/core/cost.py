"""What operators cost: exact sums, and the same in the units people read."""

from typing import Any

import attrs
import numpy as np

from modelmeter.core import units
from modelmeter.core.dims import Dim, exact_plus, exact_times, is_array, is_number


@attrs.frozen(kw_only=True, eq=True)
class Cost:
    """FLOPs and bytes of some operators: whole numbers, arrays or symbols. Adds and scales.

    A multiply-add is 2 FLOPs. `counted_flops` is what `torch.utils.flop_counter.FlopCounterMode` sees: matrix products,
    convolutions and attention cores, with full S_q * S_kv scores. The rest of `flops` are elementwise FLOPs.
    """

    tensor_flops: Dim = 0
    cuda_flops: Dim = 0
    counted_flops: Dim = 0
    weight_read_bytes: Dim = 0
    activation_read_bytes: Dim = 0
    activation_write_bytes: Dim = 0
    kv_read_bytes: Dim = 0
    kv_write_bytes: Dim = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost.from_values([exact_plus(a, b) for a, b in zip(self.values(), other.values(), strict=True)])

    def __mul__(self, times: Dim) -> "Cost":
        return Cost.from_values([exact_times(value, times) for value in self.values()])

    __rmul__ = __mul__

    def values(self) -> tuple[Dim, ...]:
        """The eight quantities in the order of `COST_FIELDS`."""
        return tuple([getattr(self, name) for name in COST_FIELDS])

    @classmethod
    def from_values(cls, values: Any) -> "Cost":
        """The inverse of `values`."""
        return cls(**dict(zip(COST_FIELDS, values, strict=True)))

    def _repr_html_(self) -> str:
        from modelmeter.report.notebook import cost_html

        return cost_html(self)

    @property
    def flops(self) -> Dim:
        """All FLOPs: tensor cores and CUDA cores."""
        return self.tensor_flops + self.cuda_flops

    @property
    def weight_bytes(self) -> Dim:
        """Bytes of weights read."""
        return self.weight_read_bytes

    @property
    def activation_bytes(self) -> Dim:
        """Bytes of activations read and written."""
        return self.activation_read_bytes + self.activation_write_bytes

    @property
    def kv_bytes(self) -> Dim:
        """Bytes of the KV cache read and written."""
        return self.kv_read_bytes + self.kv_write_bytes

    @property
    def io_bytes(self) -> Dim:
        """All bytes moved."""
        return self.weight_bytes + self.activation_bytes + self.kv_bytes

    @property
    def arithmetic_intensity(self) -> Dim:
        """FLOPs per byte moved; 0.0 where nothing moves."""
        return intensity(self.flops, self.io_bytes)


COST_FIELDS: tuple[str, ...] = tuple(field.name for field in attrs.fields(Cost))


def add(a: Dim, b: Dim) -> Dim:
    """`a + b` that spares an array pass where one of them is a plain 0."""
    if type(a) is int and a == 0:
        return b
    if type(b) is int and b == 0:
        return a
    return a + b


def intensity(flops: Dim, num_bytes: Dim) -> Dim:
    """FLOPs per byte; 0.0 where nothing moves."""
    if is_number(num_bytes) or is_array(num_bytes):
        empty = num_bytes == 0
        if is_array(num_bytes):
            return np.where(empty, 0.0, flops / (num_bytes + empty))
        return 0.0 if empty else flops / num_bytes
    return flops / num_bytes


@attrs.frozen(kw_only=True)
class StageCost:
    """One stage or layer in the units people read, and the exact numbers behind it.

    `*_tflops` are 1e12 FLOPs, `io_tb` terabits moved, `*_gb` GiB, `arithmetic_intensity` FLOPs per byte.
    """

    cost: Cost
    weights_bytes: Dim = 0
    activations_bytes: Dim = 0
    kv_cache_bytes: Dim = 0

    def _repr_html_(self) -> str:
        from modelmeter.report.notebook import stage_cost_html

        return stage_cost_html(self)

    @property
    def flops_tflops(self) -> Dim:
        """All FLOPs, in 1e12."""
        return units.to_tflops(self.cost.flops)

    @property
    def flops_tensor_tflops(self) -> Dim:
        """Tensor-core FLOPs, in 1e12."""
        return units.to_tflops(self.cost.tensor_flops)

    @property
    def flops_cuda_tflops(self) -> Dim:
        """CUDA-core FLOPs, in 1e12."""
        return units.to_tflops(self.cost.cuda_flops)

    @property
    def io_tb(self) -> Dim:
        """Terabits moved."""
        return units.to_terabits(self.cost.io_bytes)

    @property
    def arithmetic_intensity(self) -> Dim:
        """FLOPs per byte moved."""
        return self.cost.arithmetic_intensity

    @property
    def weights_gb(self) -> Dim:
        """Resident weights, GiB."""
        return units.to_gib(self.weights_bytes)

    @property
    def activations_gb(self) -> Dim:
        """Peak of the live activations, GiB."""
        return units.to_gib(self.activations_bytes)

    @property
    def kv_gb(self) -> Dim:
        """KV cache held, GiB."""
        return units.to_gib(self.kv_cache_bytes)


STAGE_FIELDS = (
    "flops_tflops",
    "flops_tensor_tflops",
    "flops_cuda_tflops",
    "io_tb",
    "arithmetic_intensity",
    "weights_gb",
    "activations_gb",
    "kv_gb",
)
"""The `StageCost` quantities in the units people read, in the order of reports."""
