"""Twin of torch.nn.Embedding."""

from typing import Any, Unpack

from modelmeter.core import ops
from modelmeter.core.dims import Dim
from modelmeter.core.layer import InputSize
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import INT64, Tensor
from modelmeter.nn.token import TokenLayer


class Embedding(TokenLayer):
    """Token ids [b s] -> [b s hidden]; reads the rows it needs, not the table."""

    def __init__(self, num_embeddings: int, hidden_size: int, **size: Unpack[InputSize]) -> None:
        super().__init__(hidden_size, **size)
        self.weight = Parameter(num_embeddings, hidden_size)

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        seq_len, batch_size = sizes
        return (recorder.take((batch_size, seq_len), INT64),)

    def forward(self, ids: Tensor) -> Tensor:
        return ops.gather(self.weight.read(), ids, (*ids.shape, self.hidden_size), name="embedding")
