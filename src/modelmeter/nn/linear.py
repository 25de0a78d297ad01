"""Twin of torch.nn.Linear."""

from typing import Unpack

from modelmeter.core import ops
from modelmeter.core.layer import InputSize
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import BF16, DType, Role, Tensor
from modelmeter.nn.token import TokenLayer


def project(x: Tensor, weight: Parameter, bias: Parameter | None = None, role: Role = "activation") -> Tensor:
    """[... in] -> [... out]. Where the weight's scheme says so the input is quantised first, for this product alone."""
    bias_read = None if bias is None else bias.read()
    if weight.scheme is None or weight.scheme.activations is None:
        return ops.linear(x, weight.read(), bias_read, role)
    values, scales = ops.quantize(x, weight.scheme.activations)
    return ops.linear(values, weight.read(), bias_read, role, scales=scales)


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
        return project(x, self.weight, self.bias, role)
