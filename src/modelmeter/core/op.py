"""The operator: what ran, and its numbers."""

from typing import Literal, TypeAlias

from modelmeter.core.cost import COST_FIELDS, Cost
from modelmeter.core.dims import Dim
from modelmeter.core.tensor import DType, Shape

Kind: TypeAlias = Literal["matmul", "elementwise", "move", "fused"]


Numbers: TypeAlias = tuple[Dim, ...]
"""The eight quantities of a `Cost`, in the order of `COST_FIELDS`: a tuple costs a tenth of an object to make."""
NOTHING: Numbers = (0,) * len(COST_FIELDS)


class Op:
    """One operator that ran: its aten name, its kind, the dtype it computed in and its numbers. Holds no tensor.

    `launches` kernels did it (a loop over experts launches one an expert, an allocation none); `groups` separate
    products share its rows; `syncs`: the host waits here for the device.
    """

    __slots__ = ("backward_numbers", "dtype", "groups", "kind", "launches", "name", "numbers", "shape", "syncs")

    def __init__(
        self, name: str, kind: Kind, dtype: DType, shape: Shape, numbers: Numbers, backward: Numbers = NOTHING
    ) -> None:
        self.name = name
        self.kind = kind
        self.dtype = dtype
        self.shape = shape  # of the (first) output
        self.numbers = numbers
        self.backward_numbers = backward
        self.launches: Dim = 1
        self.groups: Dim = 1
        self.syncs = False

    @property
    def cost(self) -> Cost:
        """What it costs forward."""
        return Cost.from_values(self.numbers)

    @property
    def backward(self) -> Cost:
        """What its backward costs; zero unless recorded with gradients."""
        return Cost.from_values(self.backward_numbers)

    def __repr__(self) -> str:
        return f"Op({self.name}, {self.kind}, {self.dtype.name}, {self.cost.flops} FLOPs, {self.cost.io_bytes} bytes)"
