"""`Parameter`: a weight that belongs to a layer."""

import math

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import NO_BACKWARD, QuantizationScheme
from modelmeter.core.recorder import current
from modelmeter.core.tensor import BF16, DType, Tensor


class Parameter:
    """A weight that belongs to a layer. `tied` ones live elsewhere: they are read here and counted there.

    `dtype` is what an operator sees; a quantised weight is stored as its `scheme` says and dequantised where it is
    read.
    """

    __slots__ = ("dtype", "scheme", "shape", "tied")

    def __init__(self, *shape: int, dtype: DType = BF16, tied: bool = False) -> None:
        self.shape = shape
        self.dtype = dtype
        self.tied = tied
        self.scheme: QuantizationScheme | None = None

    @property
    def numel(self) -> int:
        """Number of values."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes stored: the values, of a quantised weight with scales and zero points."""
        return self.numel * self.dtype.itemsize if self.scheme is None else self.scheme.weights.nbytes(self.shape)

    def read(self) -> Tensor:
        """The weight as a tensor that operators read: a quantised one as a whole, as it is stored."""
        options = current("a layer").options
        if self.scheme is None:
            return Tensor(self.shape, self.dtype, "weight", None, options.grad and options.weight_grads)
        if options.grad:
            raise ModelMeterError(NO_BACKWARD)
        return Tensor(self.shape, self.dtype, "weight", nbytes=self.nbytes)
