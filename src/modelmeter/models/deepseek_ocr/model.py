"""`DeepseekOCRModel`: one stateful model object through vision, prefill and decode."""

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import numpy as np

from modelmeter.core.cost import StageCost
from modelmeter.core.dims import Dim, as_dim, check_sweep, exact_times, is_array, is_number, is_symbol, same
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import SyntheticKVCache
from modelmeter.core.layer import Layer
from modelmeter.core.metrics import Metrics
from modelmeter.core.precision import Precision
from modelmeter.core.recorder import RecordOptions, Segment
from modelmeter.core.trace import Trace
from modelmeter.models.deepseek_ocr.assemble import layers_conventions, network_of_layers
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig, make_conventions
from modelmeter.models.deepseek_ocr.engine import Engine, OperationMode, Step
from modelmeter.models.deepseek_ocr.network import (
    DeepseekOCRForCausalLM,
    build_network,
)
from modelmeter.models.deepseek_ocr.precision import apply_precision
from modelmeter.models.deepseek_ocr.run import RunCost, StageParts, sum_run
from modelmeter.models.deepseek_ocr.views import ViewPlan
from modelmeter.nn.token import check_cache, check_is_cache


class DeepseekOCRModel(Metrics):
    """The analytic model. `start_*`, `set_*`, `extend_prefill` and `decode_one_token` move its state; asking does not.

    A single-run object, not thread-safe. Every cost question answers for the stage last started.
    """

    def __init__(
        self,
        network: DeepseekOCRForCausalLM,
        conventions: Conventions,
        config: DeepseekOCRConfig | None = None,
        precision: Precision | None = None,
    ) -> None:
        self.network = network
        self.conventions = conventions
        self.config = config
        self.precision = precision or Precision()
        self.engine = Engine(network, conventions)
        self._views: ViewPlan | None = None
        self._cache: SyntheticKVCache | None = None
        self._step: Step | None = None
        self._prefills: list[Step] = []
        self._decode_tokens: Dim = None
        self._workload: tuple[Dim, Dim] | None = None
        self._runs_workload = False

    @classmethod
    def from_config(
        cls, config: DeepseekOCRConfig | None = None, *, precision: Precision | None = None, **conventions: Any
    ) -> "DeepseekOCRModel":
        """The model of `config` (default: the released one) in `precision` (all bf16); keywords as in `Conventions`."""
        config = config or DeepseekOCRConfig()
        chosen = make_conventions(conventions).check(config)
        network = build_network(config, chosen)
        if precision is not None:
            apply_precision(network, precision)
        return cls(network, chosen, config, precision)

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
        Conventions left out are the decoder layers' own.
        """
        chosen = layers_conventions(decoder_layer, make_conventions(conventions), given=bool(conventions))
        return cls(network_of_layers(vision_layer, decoder_layer, num_decoder_layers, head, chosen), chosen)

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
        if views is not None and self.config is not None and views.patch_size != self.config.sam.patch_size:
            raise ModelMeterError(
                f"the views are planned for patches of {views.patch_size} px, the model has others: "
                f"plan_views(..., patch_size={self.config.sam.patch_size})"
            )
        self._views = views

    def configure_workload(
        self, context_len: Dim, batch_size: Dim = 1, views: ViewPlan | None = None, decode_tokens: Dim = None
    ) -> None:
        """Set views and the defaults of `start_prefill` and `simulate_run` in one call."""
        context = self._context(context_len, views)
        batch = as_dim(batch_size, "batch_size")
        check_sweep(context_len=context, batch_size=batch, decode_tokens=decode_tokens)
        tokens = None if decode_tokens is None else as_dim(decode_tokens, "decode_tokens", least=0)
        self.set_views(views)
        self._runs_workload = True  # until the next prefill
        self._workload, self._decode_tokens = (context, batch), tokens

    def start_vision(self, batch_size: Dim = None) -> None:
        """Vision of `batch_size` pages of the views set (default: as configured, 1 without)."""
        batch = self._batch(batch_size)
        self._need_vision("start_vision()")
        if self._views is None:
            raise ModelMeterError("start_vision() needs views: call set_views(plan_views(width, height)) first")
        self._step = Step(mode="vision", batch=batch).with_views(self._views)

    def start_prefill(
        self, context_len: Dim = None, batch_size: Dim = None, kv_cache: SyntheticKVCache | None = None
    ) -> SyntheticKVCache:
        """Prefill of `context_len` tokens (image tokens included) of `batch_size` sequences from an empty past.

        Adopts `kv_cache`, else its own, else makes one; it then holds `context_len` tokens. Returns it. Sizes left out
        are those of `configure_workload`, a batch of 1 without. Raises when the context is shorter than the image
        tokens, or the cache has other heads or another batch.
        """
        if context_len is None:
            if self._workload is None:
                raise ModelMeterError("start_prefill() needs context_len: give it, or call configure_workload() first")
            context_len = self._workload[0]
        batch = self._batch(batch_size)
        self._need_decoder("start_prefill()")
        context = self._context(context_len, self._views)
        check_sweep(context_len=context, batch_size=batch)
        if self._views is not None:
            self._need_vision("start_prefill() with views")
        cache = self._adopt(kv_cache, batch)
        cache.context_len, cache.decode_len = context, 0
        self._cache = cache
        self._step = Step(mode="prefill", batch=batch, queries=context).with_views(self._views)
        self._prefills, self._runs_workload = [self._step], False
        return cache

    def extend_prefill(self, num_tokens: Dim) -> None:
        """Prefill another chunk of `num_tokens` tokens onto the cache."""
        tokens = as_dim(num_tokens, "num_tokens")
        cache = self._cached("extend_prefill()")
        check_sweep(num_tokens=tokens, batch_size=cache.batch, context_len=cache.total_len())
        self._step = Step(mode="prefill", batch=cache.batch, queries=tokens, past=cache.total_len())
        self._prefills.append(self._step)
        self._runs_workload = False
        cache.context_len = cache.context_len + tokens

    def start_decode(self, kv_cache: SyntheticKVCache | None = None) -> None:
        """Decode after a prefill, or from a cache that holds one."""
        self._need_decoder("start_decode()")
        if kv_cache is not None:
            check_is_cache(kv_cache)
            cache = self._adopt(kv_cache, kv_cache.batch)
            if not is_symbol(cache.total_len()) and np.any(cache.total_len() == 0):
                raise ModelMeterError("start_decode() got an empty KV cache: prefill it with start_prefill() first")
            if cache is not self._cache:
                self._runs_workload = False
                self._prefills = [Step(mode="prefill", batch=cache.batch, queries=cache.total_len())]
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
        return self.engine.weight_bytes

    @property
    def step(self) -> Step:
        """The forward pass that cost questions answer for: the stage last started; in decode the next token's."""
        return self._current("step")

    def kv_cache_bytes(self) -> Dim:
        """Bytes cached: prefilled tokens and those decoded so far; 0 in the vision stage."""
        if self._cache is None or self._started("kv_cache_bytes()").mode == "vision":
            return 0
        return self._cache.size_bytes()

    def kv_bytes_per_token(self, batch_size: Dim = 1) -> Dim:
        """Bytes that one token of each sequence holds in the caches of all layers."""
        return self.engine.new_cache(batch_size).bytes_per_token()

    def trace(self, *, elementwise: bool = True, grad: bool = False, frozen_weights: bool = False) -> Trace:
        """The operators of the stage last started."""
        options = RecordOptions(grad=grad, weight_grads=not frozen_weights, elementwise=elementwise)
        step = self._current("trace()")

        def retrace(precision: Precision) -> Trace:
            return self.in_precision(precision).engine.trace(step, options)

        return attrs.evolve(self.engine.trace(step, options), retrace=retrace)

    def in_precision(self, precision: Precision) -> "DeepseekOCRModel":
        """The same model in another precision, with nothing started. Raises for a model of given layers."""
        if self.config is None:
            raise ModelMeterError("in_precision() needs a model from a configuration: build its layers in it instead")
        return self.from_config(self.config, precision=precision, **attrs.asdict(self.conventions))

    def simulate_run(self, decode_tokens: Dim = None) -> RunCost:
        """The whole run: the prefill done so far (with its chunks) and then `decode_tokens` decode steps.

        It decodes from the end of the prefill, whatever has been decoded since: its decode total is the sum over as
        many `decode_one_token()` from there. State is not moved. With nothing prefilled since `configure_workload` it
        runs that workload.
        """
        tokens = self._decode_tokens if decode_tokens is None else decode_tokens
        if tokens is None:
            raise ModelMeterError("simulate_run() needs decode_tokens: give it, or call configure_workload() with it")
        tokens = as_dim(tokens, "decode_tokens", least=0)
        if not self._prefills and self._workload is None:
            raise ModelMeterError("simulate_run() needs a prefill: call start_prefill(context_len, batch_size) first")
        prefills = [self._first_prefill()] if self._runs_workload or not self._prefills else self._prefills
        last = prefills[-1]
        check_sweep(decode_tokens=tokens, batch_size=last.batch, context_len=last.end)
        cached, per_token = last.end, self.kv_bytes_per_token(last.batch)

        def decode_step(past: Dim) -> StageParts:
            step = Step(mode="decode", batch=last.batch, queries=1, past=past)
            return self.engine.stage(step, exact_times(per_token, step.end))

        parts = [self.engine.stage(step, exact_times(per_token, step.end)) for step in prefills]
        return sum_run(parts, tokens, cached, decode_step)

    def part_costs(self) -> dict[str, StageCost]:
        """The stage's cost by part: sam, clip, projector, embedding, decoder, lm_head; FLOPs and bytes add up.

        `activations_bytes` of a part is what it takes at its own peak, beyond what was there when it began.
        """
        return self.get_stage_parts()[1]

    def get_stage_parts(self) -> StageParts:
        """(`get_forward_cost()`, `part_costs()`) from one recording."""
        return self.engine.stage(self._current("get_stage_parts()"), self.kv_cache_bytes())

    # Inside

    def _measure(
        self, read: Callable[[Segment], tuple[Dim, ...]], options: RecordOptions, input_grad: bool
    ) -> tuple[Dim, ...]:
        return self.engine.measure(self._current("a cost question"), read, options)

    def _current(self, call: str) -> Step:
        """The step last started; in decode, with the cache as long as it is now."""
        step = self._started(call)
        if step.mode == "decode":
            return attrs.evolve(step, past=self._cached(call).total_len())
        return step

    def _batch(self, batch_size: Dim) -> Dim:
        configured = 1 if self._workload is None else self._workload[1]
        return as_dim(configured if batch_size is None else batch_size, "batch_size")

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
        context, batch = self._context(self._workload[0], self._views), self._workload[1]
        self._need_decoder("simulate_run()")
        return Step(mode="prefill", batch=batch, queries=context).with_views(self._views)

    def _adopt(self, given: SyntheticKVCache | None, batch: Dim) -> SyntheticKVCache:
        wanted = self.engine.new_cache(batch)
        if given is None:
            if self._cache is None or not same(self._cache.batch, batch):
                return wanted
            return self._cache
        check_cache(given, wanted, "the model")
        if given.num_layers != wanted.num_layers:
            raise ModelMeterError(f"the KV cache has {given.num_layers} layers, the model {wanted.num_layers}")
        return given

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
