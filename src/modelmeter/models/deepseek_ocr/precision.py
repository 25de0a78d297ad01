"""A network brought into a `Precision`, as a quantiser walks the modules of a model that is built."""

from collections.abc import Iterator

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.parameter import Parameter
from modelmeter.core.precision import Precision, QuantizationScheme
from modelmeter.core.tensor import BF16
from modelmeter.models.deepseek_ocr.head import LMHead
from modelmeter.models.deepseek_ocr.network import DeepseekOCRForCausalLM
from modelmeter.nn.linear import Linear
from modelmeter.nn.moe import ExpertLinear
from modelmeter.nn.token import CachedLayer


def apply_precision(network: DeepseekOCRForCausalLM, precision: Precision) -> None:
    """Bring a new network of bf16 layers into `precision`.

    Raises `ModelMeterError` for what is no `Precision`, and for a head to quantise that is the embedding's table.
    """
    if not isinstance(precision, Precision):
        raise ModelMeterError(f"precision must be a Precision, as Precision(weights='int4'), not {precision!r}")
    for layer in _all_layers(network):
        layer.dtype = precision.float16
        for value in vars(layer).values():
            if isinstance(value, Parameter) and value.dtype is BF16:
                value.dtype = precision.float16
        if isinstance(layer, CachedLayer):
            layer.kv_format = precision.kv_format
    if precision.scheme is not None:
        _quantise(network, precision, precision.scheme)


def _quantise(network: DeepseekOCRForCausalLM, precision: Precision, scheme: QuantizationScheme) -> None:
    roots: dict[str, list[Layer | None]] = {
        "decoder": list(network.model.layers),
        "lm_head": [network.head],
        "vision": [network.model.vision],
    }
    for part in precision.parts:
        for root in roots[part]:
            for layer in () if root is None else _all_layers(root):
                if isinstance(layer, (Linear, ExpertLinear, LMHead)):
                    if layer.weight.tied:
                        raise ModelMeterError(
                            "precision: the head is the embedding's table, which is not quantised: leave lm_head out"
                        )
                    layer.weight.scheme = scheme


def _all_layers(root: Layer) -> Iterator[Layer]:
    """`root` and every layer below it, each object once."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        layer = waiting.pop()
        if id(layer) not in seen:
            seen.add(id(layer))
            waiting.extend(child for _, child in layer.named_children())
            yield layer
