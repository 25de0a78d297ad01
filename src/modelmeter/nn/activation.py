"""Twins of activation modules."""

from modelmeter.core import ops
from modelmeter.core.layer import Layer
from modelmeter.core.tensor import Tensor


class GELU(Layer):
    """[...] -> [...], exact (erf)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.unary("gelu", x)


class SiLU(Layer):
    """[...] -> [...], x * sigmoid(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.unary("silu", x)


class QuickGELU(Layer):
    """[...] -> [...], x * sigmoid(1.702 x) in three kernels."""

    def forward(self, x: Tensor) -> Tensor:
        return ops.binary("mul", x, ops.unary("sigmoid", ops.unary("mul", x)))
