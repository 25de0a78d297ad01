"""The analytic model as a shadow asks it: shapes in, costs out, each shape once."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

import attrs
import numpy as np

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.layer import Layer
from modelmeter.core.precision import Precision
from modelmeter.core.recorder import Recorder
from modelmeter.core.tensor import Tensor
from modelmeter.live.shadow.records import VisionModule
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig, MlpKind
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.network import VisionTower

MEMO_LIMIT: Final = 1 << 16
"""Shapes remembered; beyond, the memo starts afresh."""


class Call(NamedTuple):
    """A decoder layer's call: `tokens` of `batch` sequences onto what makes `kv_len` keys, in a cache or without."""

    kind: MlpKind
    batch: int
    tokens: int
    kv_len: int
    cached: bool

    @property
    def decodes(self) -> bool:
        """One token onto a cache that holds others."""
        return self.cached and self.tokens == 1 and self.kv_len > 1


class WithoutCache(Layer):
    """A decoder layer that keeps no keys and values: [b q hidden] -> [b q hidden]."""

    def __init__(self, layer: DeepseekV2DecoderLayer) -> None:
        super().__init__()
        self.layer = layer

    def example_inputs(self, recorder: Recorder, *sizes: Any) -> tuple[Any, ...]:
        x, positions, mask, _past = self.layer.example_inputs(recorder, *sizes, 0)
        return x, positions, mask

    def forward(self, x: Tensor, positions: Any, mask: Tensor | None) -> Tensor:
        return self.layer(x, positions, mask, None)


class Twin:
    """Answers for decoder layers and vision modules on their own. A shape asked before costs a look-up."""

    def __init__(self, config: DeepseekOCRConfig, conventions: Conventions, precision: Precision | None) -> None:
        if not conventions.elementwise:
            raise ModelMeterError("Shadow() counts elementwise FLOPs: give conventions with elementwise=True")
        self.config, self.conventions, self.precision = config, conventions, precision
        self.model = self._built(conventions)
        self._layers = dict(zip(config.decoder.mlp_layer_types, self._decoder_layers(self.model), strict=False))
        self._uncached = {kind: WithoutCache(layer) for kind, layer in self._layers.items()}
        self._calls: dict[Call, StageCost] = {}
        self._views: dict[tuple[VisionModule, int, int], StageCost] = {}
        self._weights: dict[tuple[MlpKind, int, int], int] = {}
        self._reaching: dict[int, DeepseekOCRModel] = {}

    @property
    def precision_is_plain(self) -> bool:
        """Whether weights are stored as they are, one value each."""
        return self.precision is None or self.precision.scheme is None

    def learn(self, calls: Iterable[Call]) -> None:
        """Ask for all calls that are new: the decode steps of a kind of layer at once, over an array of lengths."""
        if len(self._calls) > MEMO_LIMIT:
            self._calls.clear()
        decodes: dict[tuple[MlpKind, int], list[int]] = {}
        for call in dict.fromkeys(calls):
            if call in self._calls:
                continue
            if call.decodes:
                decodes.setdefault((call.kind, call.batch), []).append(call.kv_len)
            else:
                self._calls[call] = self._ask(call)
        for (kind, batch), lengths in decodes.items():
            self._learn_decodes(kind, batch, lengths)

    def layer(self, call: Call) -> StageCost:
        """The cost of a call that `learn` was given, or that was asked before."""
        if call not in self._calls:
            self._calls[call] = self._ask(call)
        return self._calls[call]

    def vision(self, module: VisionModule, number: int, size: int) -> StageCost:
        """SAM on `number` views of `size` px a side, CLIP on as many squares of `size` features, the projector on rows
        of `size` features."""
        key = (module, number, size)
        if key not in self._views:
            layer = self.vision_module(module)
            layer.set_seq_len(size)
            layer.set_batch_size(number)
            self._views[key] = layer.get_forward_cost()
        return self._views[key]

    def weight_bytes_reaching(self, call: Call, hit: int) -> int:
        """Bytes of weights that a layer reads when its tokens reach `hit` experts."""
        key = (call.kind, call.batch * call.tokens, hit)
        if key not in self._weights:
            if hit not in self._reaching:
                self._reaching[hit] = self._built(attrs.evolve(self.conventions, coverage=hit))
            index = self.config.decoder.mlp_layer_types.index(call.kind)
            layer = self._decoder_layers(self._reaching[hit])[index]
            layer.set_prefill_shape(call.tokens, call.batch)  # weights do not depend on what is cached
            self._weights[key] = int(layer.cost().weight_read_bytes)
        return self._weights[key]

    def vision_module(self, module: VisionModule) -> Layer:
        """The twin of a vision module."""
        tower = self.model.network.model.vision
        assert isinstance(tower, VisionTower)  # a network built from a configuration has one
        modules: dict[VisionModule, Layer] = {
            "sam_model": tower.sam_model,
            "vision_model": tower.vision_model,
            "projector": tower.projector,
        }
        return modules[module]

    def decoder_layer(self, index: int) -> DeepseekV2DecoderLayer:
        """The twin of a decoder layer."""
        return self._decoder_layers(self.model)[index]

    def _ask(self, call: Call) -> StageCost:
        layer, past = self._layers[call.kind], call.kv_len - call.tokens
        if not call.cached:
            uncached = self._uncached[call.kind]
            uncached.set_seq_len(call.tokens)
            uncached.set_batch_size(call.batch)
            return attrs.evolve(uncached.get_forward_cost(), kv_cache_bytes=0)
        if past == 0:
            layer.set_prefill_state(call.tokens, call.batch)
            return layer.get_forward_cost()
        if call.decodes:
            layer.set_decode_state(past, 0, call.batch)
            cost = layer.get_forward_cost()
        else:  # a chunk of a prefill
            trace = layer.trace_at(call.tokens, call.batch, past)
            cost = StageCost(
                cost=trace.total,
                weights_bytes=layer.parameter_bytes(),
                activations_bytes=trace.peak_bytes,
            )
        return attrs.evolve(cost, kv_cache_bytes=layer.kv_bytes_per_token() * call.batch * call.kv_len)

    def _learn_decodes(self, kind: MlpKind, batch: int, lengths: list[int]) -> None:
        layer = self._layers[kind]
        layer.set_decode_state(np.array(lengths) - 1, 0, batch)
        costs = split(layer.get_forward_cost(), len(lengths))
        for kv_len, cost in zip(lengths, costs, strict=True):
            held = layer.kv_bytes_per_token() * batch * kv_len  # the layer's own answer is before its token is written
            self._calls[Call(kind, batch, 1, kv_len, True)] = attrs.evolve(cost, kv_cache_bytes=held)

    def _built(self, conventions: Conventions) -> DeepseekOCRModel:
        chosen: dict[str, Any] = attrs.asdict(conventions)
        return DeepseekOCRModel.from_config(self.config, precision=self.precision, **chosen)

    @staticmethod
    def _decoder_layers(model: DeepseekOCRModel) -> list[DeepseekV2DecoderLayer]:
        return [layer for layer in model.network.model.layers if isinstance(layer, DeepseekV2DecoderLayer)]


def split(cost: StageCost, points: int) -> list[StageCost]:
    """The costs of the points of a sweep, each in whole numbers."""
    columns = [np.broadcast_to(value, points).tolist() for value in cost.cost.values()]
    peaks = np.broadcast_to(cost.activations_bytes, points).tolist()
    cached = np.broadcast_to(cost.kv_cache_bytes, points).tolist()
    return [
        StageCost(
            cost=Cost.from_values(values),
            weights_bytes=cost.weights_bytes,
            activations_bytes=peak,
            kv_cache_bytes=kept,
        )
        for values, peak, kept in zip(zip(*columns, strict=True), peaks, cached, strict=True)
    ]
