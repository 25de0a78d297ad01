"""`DeepseekOCRModel`: one stateful model object through vision, prefill and decode."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from modelmeter.core.cost import StageCost
from modelmeter.core.dims import Dim, as_dim, is_array, is_number, same
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import Run, evaluate, fold
from modelmeter.core.kv_cache import PastKV, SyntheticKVCache
from modelmeter.core.layer import Layer
from modelmeter.core.metrics import Metrics
from modelmeter.core.recorder import Recorder, RecordOptions, Segment
from modelmeter.core.tensor import BF16, INT64
from modelmeter.core.trace import Trace
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig, make_conventions
from modelmeter.models.deepseek_ocr.network import (
    Backbone,
    DeepseekOCRForCausalLM,
    VisionStage,
    build_network,
)
from modelmeter.models.deepseek_ocr.parts import part_owners, read_parts, split_weights, unpack_parts
from modelmeter.models.deepseek_ocr.run import RunCost, StageParts, sum_run
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.token import CachedLayer, TokenLayer, check_cache

OperationMode: TypeAlias = Literal["vision", "prefill", "decode"]


@attrs.frozen(kw_only=True)
class Step:
    """One forward pass: `queries` tokens of `batch` sequences after `past` cached ones, with images (count, side).

    While the model decodes, `past` is the cache's length.
    """

    mode: OperationMode
    batch: Dim
    queries: Dim = 0
    past: Dim = 0
    grid: tuple[int, int] = (1, 1)
    images: tuple[tuple[Dim, Dim], ...] = ()


class DeepseekOCRModel(Metrics):
    """The analytic model. `start_*`, `set_*`, `extend_prefill` and `decode_one_token` move its state; asking does not.

    A single-run object, not thread-safe. Every cost question answers for the stage last started.
    """

    def __init__(
        self, network: DeepseekOCRForCausalLM, conventions: Conventions, config: DeepseekOCRConfig | None = None
    ) -> None:
        self.network = network
        self.conventions = conventions
        self.config = config
        self._vision_stage = VisionStage(network.model)
        self._owners = part_owners(network)
        self._part_weights = split_weights(network, self._owners)  # a network does not change once built
        self._weight_bytes = sum(self._part_weights.values())
        self._views: ViewPlan | None = None
        self._cache: SyntheticKVCache | None = None
        self._step: Step | None = None
        self._prefills: list[Step] = []
        self._decode_tokens: Dim = None
        self._workload: tuple[Dim, Dim] | None = None

    @classmethod
    def from_config(cls, config: DeepseekOCRConfig | None = None, **conventions: Any) -> "DeepseekOCRModel":
        """The model of `config` (default: the released one); keywords as in `Conventions`."""
        config = config or DeepseekOCRConfig()
        chosen = make_conventions(conventions).check(config)
        return cls(build_network(config, chosen), chosen, config)

    @classmethod
    def from_layers(
        cls,
        vision_layer: Layer | None,
        decoder_layer: Layer | Sequence[Layer],
        num_decoder_layers: int = 0,
        head: Layer | None = None,
        **conventions: Any,
    ) -> "DeepseekOCRModel":
        """A model of given layers. `decoder_layer` is one layer, repeated `num_decoder_layers` times, or a sequence.

        The vision layer is called once for each batch of views, a decoder layer as `layer(x, positions, mask, past)`.
        """
        chosen = make_conventions(conventions)
        if isinstance(decoder_layer, Layer):
            layers = [decoder_layer] * as_dim(num_decoder_layers, "num_decoder_layers")
        else:
            layers = list(decoder_layer)
            if num_decoder_layers not in (0, len(layers)):
                raise ModelMeterError(
                    f"num_decoder_layers is {num_decoder_layers}, but {len(layers)} layers were given"
                )
        sized = [layer.hidden_size for layer in layers if isinstance(layer, TokenLayer)]
        hidden = sized[0] if sized else DeepseekOCRConfig().decoder.hidden_size
        backbone = Backbone(vision_layer, layers, hidden, chosen)
        return cls(DeepseekOCRForCausalLM(backbone, head, chosen), chosen)

    # State

    @property
    def operation_mode(self) -> OperationMode:
        """ "vision", "prefill" or "decode"."""
        return self._started("operation_mode").mode

    @property
    def views(self) -> ViewPlan | None:
        """The views of a page; None: text only."""
        return self._views

    @property
    def kv_cache(self) -> SyntheticKVCache | None:
        """The cache of the run; None before the first prefill."""
        return self._cache

    def set_views(self, views: ViewPlan | None) -> None:
        """Set the views of each page, or None for text only. Takes effect with the next `start_*`."""
        if views is not None and not isinstance(views, ViewPlan):
            raise ModelMeterError(f"set_views() takes a ViewPlan, as plan_views() gives, or None, not {views!r}")
        self._views = views

    def configure_workload(
        self, context_len: Dim, batch_size: Dim = 1, views: ViewPlan | None = None, decode_tokens: Dim = None
    ) -> None:
        """Set views and the defaults of `start_prefill` and `simulate_run` in one call."""
        context = self._context(context_len, views)
        batch = as_dim(batch_size, "batch_size")
        tokens = None if decode_tokens is None else as_dim(decode_tokens, "decode_tokens", least=0)
        self.set_views(views)
        self._workload, self._decode_tokens = (context, batch), tokens

    def start_vision(self, batch_size: Dim = 1) -> None:
        """Vision of `batch_size` pages of the views set."""
        batch = as_dim(batch_size, "batch_size")
        self._need_vision("start_vision()")
        if self._views is None:
            raise ModelMeterError("start_vision() needs views: call set_views(plan_views(width, height)) first")
        self._step = self._with_views(Step(mode="vision", batch=batch))

    def start_prefill(
        self, context_len: Dim = None, batch_size: Dim = None, kv_cache: SyntheticKVCache | None = None
    ) -> SyntheticKVCache:
        """Prefill of `context_len` tokens (image tokens included) of `batch_size` sequences from an empty past.

        Adopts `kv_cache`, else its own, else makes one; it then holds `context_len` tokens. Returns it. Sizes left out
        are those of `configure_workload`, a batch of 1 without. Raises when the context is shorter than the image
        tokens, or the cache has other heads or another batch.
        """
        if context_len is None and self._workload is None:
            raise ModelMeterError("start_prefill() needs context_len: give it, or call configure_workload() first")
        if context_len is None and self._workload is not None:
            context_len, default_batch = self._workload
        else:
            default_batch = 1
        batch = as_dim(default_batch if batch_size is None else batch_size, "batch_size")
        self._need_decoder("start_prefill()")
        context = self._context(context_len, self._views)
        if self._views is not None:
            self._need_vision("start_prefill() with views")
        cache = self._adopt(kv_cache, batch)
        cache.context_len, cache.decode_len = context, 0
        self._cache = cache
        self._step = self._with_views(Step(mode="prefill", batch=batch, queries=context))
        self._prefills = [self._step]
        return cache

    def extend_prefill(self, num_tokens: Dim) -> None:
        """Prefill another chunk of `num_tokens` tokens onto the cache."""
        tokens = as_dim(num_tokens, "num_tokens")
        cache = self._cached("extend_prefill()")
        self._step = Step(mode="prefill", batch=cache.batch, queries=tokens, past=cache.total_len())
        self._prefills.append(self._step)
        cache.context_len = cache.context_len + tokens

    def start_decode(self, kv_cache: SyntheticKVCache | None = None) -> None:
        """Decode after a prefill, or from a cache that holds one."""
        self._need_decoder("start_decode()")
        if kv_cache is not None:
            cache = self._adopt(kv_cache, kv_cache.batch)
            if is_number(cache.total_len()) and cache.total_len() == 0:
                raise ModelMeterError("start_decode() got an empty KV cache: prefill it with start_prefill() first")
            if cache is not self._cache:
                self._prefills = [Step(mode="prefill", batch=cache.batch, queries=cache.context_len)]
            self._cache = cache
        cache = self._cached("start_decode()")
        self._step = Step(mode="decode", batch=cache.batch, queries=1)

    def decode_one_token(self) -> None:
        """Write one token to the cache: the next one attends to one more."""
        cache = self._cached("decode_one_token()")
        if self._step is None or self._step.mode != "decode":
            raise ModelMeterError("decode_one_token() runs in decode: call start_decode() first")
        cache.update()

    # Questions

    def parameter_count(self) -> int:
        """Number of weights of all parts."""
        return self.network.parameter_count()

    def parameter_bytes(self) -> int:
        """Bytes of weights resident: all parts, the same in every stage."""
        return self._weight_bytes

    def kv_cache_bytes(self) -> Dim:
        """Bytes cached: prefilled tokens and those decoded so far; 0 in the vision stage."""
        if self._cache is None or self._started("kv_cache_bytes()").mode == "vision":
            return 0
        return self._cache.size_bytes()

    def kv_bytes_per_token(self, batch_size: Dim = 1) -> Dim:
        """Bytes that one token of each sequence holds in the caches of all layers."""
        return self._new_cache(batch_size).bytes_per_token()

    def trace(self, *, elementwise: bool | None = None, grad: bool = False, frozen_weights: bool = False) -> Trace:
        """The operators of the stage last started."""
        return self.trace_step(
            self._current("trace()"), elementwise=elementwise, grad=grad, frozen_weights=frozen_weights
        )

    def trace_step(
        self, step: Step, *, elementwise: bool | None = None, grad: bool = False, frozen_weights: bool = False
    ) -> Trace:
        """The operators of any forward pass, whatever the state; its sizes may be symbols."""
        counted = self.conventions.elementwise if elementwise is None else elementwise
        options = RecordOptions(grad=grad, weight_grads=not frozen_weights, elementwise=counted)
        return Trace(evaluate(self._runner(step), self._dims(step), options))

    def simulate_run(self, decode_tokens: Dim = None) -> RunCost:
        """The whole run: the prefill done so far (with its chunks) and then `decode_tokens` decode steps.

        Its decode total is the sum over as many `decode_one_token()`. State is not moved. With nothing prefilled yet it
        runs the workload of `configure_workload`.
        """
        tokens = self._decode_tokens if decode_tokens is None else decode_tokens
        if tokens is None:
            raise ModelMeterError("simulate_run() needs decode_tokens: give it, or call configure_workload() with it")
        tokens = as_dim(tokens, "decode_tokens", least=0)
        if not self._prefills and self._workload is None:
            raise ModelMeterError("simulate_run() needs a prefill: call start_prefill(context_len, batch_size) first")
        prefills = self._prefills or [self._first_prefill()]
        last = prefills[-1]
        cached, per_token = last.past + last.queries, self.kv_bytes_per_token(last.batch)

        def decode_step(past: Dim) -> StageParts:
            return self._stage(Step(mode="decode", batch=last.batch, queries=1, past=past), per_token * (past + 1))

        parts = [self._stage(step, per_token * (step.past + step.queries)) for step in prefills]
        return sum_run(parts, tokens, cached, decode_step)

    def part_costs(self) -> dict[str, StageCost]:
        """The stage's cost by part: sam, clip, projector, embedding, decoder, lm_head; FLOPs and bytes add up.

        `activations_bytes` of a part is what it takes at its own peak, beyond what was there when it began.
        """
        return self.get_stage_parts()[1]

    def get_stage_parts(self) -> StageParts:
        """(`get_forward_cost()`, `part_costs()`) from one recording."""
        return self._stage(self._current("get_stage_parts()"), self.kv_cache_bytes())

    # Inside

    def _measure(
        self, read: Callable[[Segment], tuple[Dim, ...]], options: RecordOptions, input_grad: bool
    ) -> tuple[Dim, ...]:
        return self._measure_step(self._current("a cost question"), read, options)

    def _measure_step(
        self, step: Step, read: Callable[[Segment], tuple[Dim, ...]], options: RecordOptions
    ) -> tuple[Dim, ...]:
        if not self.conventions.elementwise:
            options = attrs.evolve(options, elementwise=False)
        return fold(self._runner(step), self._dims(step), options, read)

    def _stage(self, step: Step, kv_cache_bytes: Dim) -> StageParts:
        flat = self._measure_step(step, lambda segment: read_parts(segment, self._owners), RecordOptions())
        return unpack_parts(flat, self._part_weights, kv_cache_bytes)

    def _dims(self, step: Step) -> tuple[Dim, ...]:
        return (step.queries, step.batch, step.past)

    def _current(self, call: str) -> Step:
        """The step last started; in decode, with the cache as long as it is now."""
        step = self._started(call)
        if step.mode == "decode":
            return attrs.evolve(step, past=self._cached(call).total_len())
        return step

    def _runner(self, step: Step) -> Run:
        style = self.conventions.cache

        def run(recorder: Recorder, queries: Dim, batch: Dim, past: Dim) -> None:
            images = [recorder.take((batch * count, 3, side, side), BF16) for count, side in step.images]
            if step.mode == "vision":
                self._vision_stage(step.grid, batch, *images)
                return
            ids = recorder.take((batch, queries), INT64)
            attention_mask = recorder.take((batch, past + queries), INT64)
            self.network(ids, attention_mask, PastKV(length=past, style=style), step.grid, *images)

        return run

    def _with_views(self, step: Step) -> Step:
        if self._views is None:
            return step
        return attrs.evolve(step, grid=self._views.grid, images=tuple(self._views.views))

    def _context(self, context_len: Dim, views: ViewPlan | None) -> Dim:
        context = as_dim(context_len, "context_len")
        if views is not None and not isinstance(views, ViewPlan):
            raise ModelMeterError(f"views must be a ViewPlan, as plan_views() gives, or None, not {views!r}")
        if views is not None and (is_number(context) or is_array(context)):
            shortest = context.min() if is_array(context) else context
            if shortest < views.image_tokens:
                raise ModelMeterError(
                    f"context_len {shortest} is shorter than the {views.image_tokens} image tokens of the views: "
                    "count the image tokens in, or set_views(None) for text only"
                )
        return context

    def _first_prefill(self) -> Step:
        if self._workload is None:
            raise ModelMeterError("configure_workload() was not called")
        context, batch = self._workload
        self._need_decoder("simulate_run()")
        return self._with_views(Step(mode="prefill", batch=batch, queries=context))

    def _adopt(self, given: SyntheticKVCache | None, batch: Dim) -> SyntheticKVCache:
        wanted = self._new_cache(batch)
        if given is None:
            if self._cache is None or not same(self._cache.batch, batch):
                return wanted
            return self._cache
        check_cache(given, wanted.num_kv_heads, wanted.head_dim, batch, "the model")
        if given.num_layers != wanted.num_layers:
            raise ModelMeterError(f"the KV cache has {given.num_layers} layers, the model {wanted.num_layers}")
        return given

    def _new_cache(self, batch: Dim) -> SyntheticKVCache:
        layers = self.network.model.layers
        for layer in layers:
            if isinstance(layer, CachedLayer):
                return SyntheticKVCache(batch, layer.num_kv_heads, layer.head_dim, len(layers))
        default = DeepseekOCRConfig().decoder
        return SyntheticKVCache(batch, default.num_key_value_heads, default.head_dim, max(1, len(layers)))

    def _started(self, call: str) -> Step:
        if self._step is None:
            raise ModelMeterError(f"{call} needs a stage: call start_vision() or start_prefill(context_len) first")
        return self._step

    def _cached(self, call: str) -> SyntheticKVCache:
        if self._cache is None:
            raise ModelMeterError(f"{call} needs a KV cache: call start_prefill(context_len, batch_size) first")
        return self._cache

    def _need_vision(self, call: str) -> None:
        if self.network.model.vision is None:
            raise ModelMeterError(f"{call} needs a vision part: this model was built without one")

    def _need_decoder(self, call: str) -> None:
        if not self.network.model.layers:
            raise ModelMeterError(f"{call} needs decoder layers: this model was built without any")
