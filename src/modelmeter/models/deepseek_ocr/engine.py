"""`Engine`: a network and how it is counted, without state. It answers for any forward pass, a `Step`."""

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import attrs

from modelmeter.core.dims import Dim, exact_plus
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import Run, evaluate, fold
from modelmeter.core.kv_cache import PastKV, SyntheticKVCache
from modelmeter.core.op import Op
from modelmeter.core.precision import BF16_CACHE
from modelmeter.core.recorder import Recorder, RecordOptions, Segment
from modelmeter.core.tensor import INT64
from modelmeter.core.trace import Trace
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.network import DeepseekOCRForCausalLM, VisionStage
from modelmeter.models.deepseek_ocr.parts import part_owners, read_parts, split_parts, split_weights, unpack_parts
from modelmeter.models.deepseek_ocr.run import StageParts
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.token import CachedLayer, new_cache

OperationMode: TypeAlias = Literal["vision", "prefill", "decode"]
Read: TypeAlias = Callable[[Segment], tuple[Dim, ...]]
"""Takes quantities from a recording."""


@attrs.frozen(kw_only=True)
class Step:
    """One forward pass: `queries` tokens of `batch` sequences after `past` cached ones, with images (count, side)."""

    mode: OperationMode
    batch: Dim
    queries: Dim = 0
    past: Dim = 0
    grid: tuple[int, int] = (1, 1)
    images: tuple[tuple[Dim, Dim], ...] = ()

    @property
    def sizes(self) -> tuple[Dim, Dim, Dim]:
        """What may be an array or a symbol."""
        return (self.queries, self.batch, self.past)

    @property
    def end(self) -> Dim:
        """Tokens cached afterwards."""
        return exact_plus(self.past, self.queries)

    def with_views(self, views: ViewPlan | None) -> "Step":
        """The same with a page's views in each sequence."""
        return self if views is None else attrs.evolve(self, grid=views.grid, images=tuple(views.views))


class Engine:
    """A network, its conventions, and what follows from them alone. The network does not change once it is here."""

    def __init__(self, network: DeepseekOCRForCausalLM, conventions: Conventions) -> None:
        self.network = network
        self.conventions = conventions
        formats = (layer.kv_format for layer in network.model.layers if isinstance(layer, CachedLayer))
        self.kv_format = next(formats, BF16_CACHE)
        self._vision_stage = VisionStage(network.model)
        self._owners = part_owners(network)
        self._part_weights = split_weights(network, self._owners)
        self.weight_bytes = sum(self._part_weights.values())

    def measure(self, step: Step, read: Read, options: RecordOptions) -> tuple[Dim, ...]:
        """What `read` takes from the recording of a step; sweeps in chunks."""
        return fold(self._runner(step), step.sizes, self._counted(options), read)

    def trace(self, step: Step, options: RecordOptions) -> Trace:
        """The operators of a step."""
        return Trace(evaluate(self._runner(step), step.sizes, self._counted(options)))

    def pieces(self, trace: Trace) -> Iterator[tuple[str, Op | Segment]]:
        """(part, operator or call) of a trace of this network, in order: what the times of parts are sums of."""
        return split_parts(trace.root, self._owners)

    def stage(self, step: Step, kv_cache_bytes: Dim) -> StageParts:
        """The cost of a step and of its parts, beside `kv_cache_bytes` held."""
        flat = self.measure(step, lambda segment: read_parts(segment, self._owners), RecordOptions())
        return unpack_parts(flat, self._part_weights, kv_cache_bytes)

    def new_cache(self, batch: Dim) -> SyntheticKVCache:
        """An empty cache that fits; of the released sizes where no layer says others (stub layers)."""
        layers = self.network.model.layers
        cached = [layer for layer in layers if isinstance(layer, CachedLayer)]
        shapes = {(layer.num_kv_heads, layer.head_dim) for layer in cached}
        if len(shapes) > 1:
            raise ModelMeterError(f"layers with KV heads and sizes {sorted(shapes)} share no cache: give equal ones")
        for heads, head_dim in shapes:
            return new_cache(self.kv_format, batch, heads, head_dim, len(layers))
        default = DecoderConfig()
        return SyntheticKVCache(batch, default.num_key_value_heads, default.head_dim, max(1, len(layers)))

    def _counted(self, options: RecordOptions) -> RecordOptions:
        return options if self.conventions.elementwise else attrs.evolve(options, elementwise=False)

    def _runner(self, step: Step) -> Run:
        style, stored, dtype = self.conventions.cache, self.kv_format, self.network.dtype
        masked = self.conventions.attention == "eager" or self.conventions.implementation == "transformers"

        def run(recorder: Recorder, queries: Dim, batch: Dim, past: Dim) -> None:
            images = [recorder.take((batch * count, 3, side, side), dtype) for count, side in step.images]
            if step.mode == "vision":
                self._vision_stage(step.grid, batch, *images)
                return
            ids = recorder.take((batch, queries), INT64)
            attention_mask = recorder.take((batch, past + queries), INT64) if masked else None
            self.network(ids, attention_mask, PastKV(length=past, style=style, format=stored), step.grid, *images)

        return run
