"""A network of layers that someone made: what `DeepseekOCRModel.from_layers` puts together."""

from collections.abc import Sequence

from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer
from modelmeter.models.deepseek_ocr.network import Backbone, DeepseekOCRForCausalLM
from modelmeter.nn.token import TokenLayer


def network_of_layers(
    vision_layer: Layer | None,
    decoder_layer: Layer | Sequence[Layer],
    num_decoder_layers: int,
    head: Layer | None,
    conventions: Conventions,
) -> DeepseekOCRForCausalLM:
    """The network of these layers, as `from_layers` takes them. Raises where one is no layer or numbers differ."""
    given = [vision_layer, head, *([decoder_layer] if isinstance(decoder_layer, Layer) else decoder_layer)]
    for layer in given:
        if layer is not None and not isinstance(layer, Layer):
            raise ModelMeterError(f"from_layers() takes layers, not {layer!r}")
    if isinstance(decoder_layer, Layer):
        layers = [decoder_layer] * as_dim(num_decoder_layers, "num_decoder_layers")
    else:
        layers = list(decoder_layer)
        if num_decoder_layers not in (0, len(layers)):
            raise ModelMeterError(f"num_decoder_layers is {num_decoder_layers}, but {len(layers)} layers were given")
    sized = [layer.hidden_size for layer in layers if isinstance(layer, TokenLayer)]
    hidden = sized[0] if sized else DeepseekOCRConfig().decoder.hidden_size
    return DeepseekOCRForCausalLM(Backbone(vision_layer, layers, hidden, conventions), head, conventions)


def layers_conventions(layers: Layer | Sequence[Layer], chosen: Conventions, *, given: bool) -> Conventions:
    """`chosen` if given, else the layers' own. Raises where layers differ, or say otherwise than what is given."""
    chosen.check(DeepseekOCRConfig())
    several = [layers] if isinstance(layers, Layer) else layers
    own = {layer.conventions for layer in several if isinstance(layer, DeepseekV2DecoderLayer)}
    if len(own) > 1 or (given and own - {chosen}):
        raise ModelMeterError("from_layers(): the decoder layers were built with other conventions: build them alike")
    return own.pop() if own else chosen
