"""Twin of torch.nn.Linear."""

from typing import Unpack

from modelmeter.core import ops
from modelmeter.core.layer import InputSize, Parameter
from modelmeter.core.tensor import BF16, DType, Role, Tensor
from modelmeter.nn.token import TokenLayer


class Linear(TokenLayer):
    """[... in] -> [... out]."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        *,
        dtype: DType = BF16,
        **size: Unpack[InputSize],
    ) -> None:
        super().__init__(in_features, **size)
        self.weight = Parameter(out_features, in_features, dtype=dtype)
        self.bias = Parameter(out_features, dtype=dtype) if bias else None

    def forward(self, x: Tensor, role: Role = "activation") -> Tensor:
        return ops.linear(x, self.weight.read(), None if self.bias is None else self.bias.read(), role)
