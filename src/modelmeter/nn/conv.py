"""Twin of torch.nn.Conv2d."""

from modelmeter.core import ops
from modelmeter.core.layer import Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import Tensor


class Conv2d(Layer):
    """[b in h w] -> [b out h' w'], square kernels."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.stride = stride
        self.padding = padding
        self.weight = Parameter(out_channels, in_channels, kernel, kernel)
        self.bias = Parameter(out_channels) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.bias is None else self.bias.read()
        return ops.conv2d(x, self.weight.read(), bias, stride=self.stride, padding=self.padding)
