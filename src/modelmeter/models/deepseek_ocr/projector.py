"""The projector between vision and decoder. Twin of the vendor's `MlpProjector`."""

from typing import Unpack

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import InputSize, Layer
from modelmeter.core.tensor import Tensor
from modelmeter.models.deepseek_ocr.config import PROJECTOR_KINDS, ProjectorConfig
from modelmeter.nn.activation import GELU
from modelmeter.nn.linear import Linear
from modelmeter.nn.token import TokenLayer


class MlpProjector(TokenLayer):
    """[b s in] -> [b s out]: nothing ("identity"), one linear ("linear"), or `depth` linears with GELU ("mlp_gelu")."""

    def __init__(self, config: ProjectorConfig, **size: Unpack[InputSize]) -> None:
        super().__init__(config.input_dim, **size)
        if config.kind not in PROJECTOR_KINDS:
            raise ModelMeterError(f"projector_type {config.kind!r}: choose {', '.join(PROJECTOR_KINDS)}")
        self.layers: Layer | list[Layer] = []
        if config.kind == "linear":
            self.layers = Linear(config.input_dim, config.n_embed)
        elif config.kind == "mlp_gelu":
            act, more = GELU(), Linear(config.n_embed, config.n_embed)
            self.layers = [Linear(config.input_dim, config.n_embed), *([act, more] * (config.depth - 1))]

    def forward(self, x: Tensor) -> Tensor:
        layers = [self.layers] if isinstance(self.layers, Layer) else self.layers
        for layer in layers:
            x = layer(x)
        return x
