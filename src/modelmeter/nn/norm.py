"""Twins of torch.nn.LayerNorm and of the RMSNorm written out in eager code."""

from typing import Unpack

from modelmeter.core import ops
from modelmeter.core.layer import InputSize
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import FP32, Tensor
from modelmeter.nn.token import TokenLayer


class LayerNorm(TokenLayer):
    """[... n] -> [... n], one kernel."""

    def __init__(self, hidden_size: int, **size: Unpack[InputSize]) -> None:
        super().__init__(hidden_size, **size)
        self.weight = Parameter(hidden_size)
        self.bias = Parameter(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        return ops.layer_norm(x, self.weight.read(), self.bias.read())


class RMSNorm(TokenLayer):
    """[... n] -> [... n], operator by operator in fp32, as LlamaRMSNorm's eager code runs."""

    def __init__(self, hidden_size: int, **size: Unpack[InputSize]) -> None:
        super().__init__(hidden_size, **size)
        self.weight = Parameter(hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        x = ops.cast(x, FP32)
        variance = ops.reduce("mean", ops.unary("pow", x), (*x.shape[:-1], 1))
        x = ops.binary("mul", x, ops.unary("rsqrt", ops.unary("add", variance)))
        return ops.binary("mul", ops.cast(x, self.dtype), self.weight.read())
