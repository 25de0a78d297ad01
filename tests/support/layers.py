"""Small layers made of generic operators, for tests of the calculus that need no real module."""

from typing import Any

from modelmeter import Layer
from modelmeter.core import ops
from modelmeter.core.tensor import Tensor
from modelmeter.nn.activation import GELU
from modelmeter.nn.linear import Linear
from modelmeter.nn.norm import LayerNorm, RMSNorm
from modelmeter.nn.token import TokenLayer


class Feed(TokenLayer):
    """[b s h] -> [b s h]: norm, up, GELU, down, residual."""

    def __init__(self, hidden: int, wide: int, **size: Any) -> None:
        super().__init__(hidden, **size)
        self.norm = LayerNorm(hidden)
        self.up = Linear(hidden, wide)
        self.act = GELU()
        self.down = Linear(wide, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return ops.binary("add", x, self.down(self.act(self.up(self.norm(x)))))


class SelfAttention(TokenLayer):
    """[b s h] -> [b s h]: one head, scores of all with all."""

    def __init__(self, hidden: int, **size: Any) -> None:
        super().__init__(hidden, **size)
        self.norm = RMSNorm(hidden)
        self.qkv = Linear(hidden, 3 * hidden)
        self.out = Linear(hidden, hidden)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, hidden = x.shape
        q = k = v = self.qkv(self.norm(x)).narrow(batch, tokens, hidden)
        scores = ops.softmax(ops.bmm(q, k.view(batch, hidden, tokens)))
        return ops.binary("add", x, self.out(ops.bmm(scores, v)))


class Chain(TokenLayer):
    """[b s h] -> [b s h] through a list of layers; equal ones may be one object listed several times."""

    def __init__(self, layers: list[Layer], hidden: int, **size: Any) -> None:
        super().__init__(hidden, **size)
        self.layers = layers

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class Inline(TokenLayer):
    """Its one child has no name in paths, as what a real forward does inline."""

    def __init__(self, child: Layer, hidden: int, **size: Any) -> None:
        super().__init__(hidden, **size)
        self.child = child

    def named_children(self) -> Any:
        """The child without a name."""
        return (("", child) for _, child in super().named_children())

    def forward(self, x: Tensor) -> Tensor:
        return ops.unary("neg", self.child(x))
