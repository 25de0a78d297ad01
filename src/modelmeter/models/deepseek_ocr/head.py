"""From hidden states to logits."""

from typing import Unpack

from modelmeter.core import ops
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.tensor import FP32, Tensor
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.nn.linear import project
from modelmeter.nn.token import TokenLayer


class LMHead(TokenLayer):
    """[b s hidden] -> logits [b s vocab]."""

    def __init__(
        self,
        hidden_size: int,
        vocab_size: int,
        *,
        tied: bool = False,
        **size: Unpack[InputSize],
    ) -> None:
        super().__init__(hidden_size, **size)
        self.weight = Parameter(vocab_size, hidden_size, tied=tied)

    def forward(self, x: Tensor) -> Tensor:
        return project(x, self.weight)


class Head(Layer):
    """`lm_head` and what follows it: the vendor casts the logits to fp32."""

    def __init__(self, lm_head: Layer, conventions: Conventions) -> None:
        super().__init__()
        self.casts = conventions.implementation == "vendor" and isinstance(lm_head, LMHead)
        self.lm_head = lm_head

    def forward(self, x: Tensor) -> Tensor:
        logits = self.lm_head(x)
        return ops.cast(logits, FP32) if self.casts else logits
