"""How the model and its layers behave: growth, stages, state, misuse. Relations that hold whatever the numbers."""

import itertools
from typing import Any

import numpy as np
import pytest

import modelmeter as mm
from modelmeter import DeepseekOCRModel, Layer, ModelMeterError, SyntheticKVCache, ViewPlan, plan_views
from modelmeter.core import ops
from modelmeter.core.tensor import BF16, Tensor
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.deepseek_v2 import (
    DeepseekV2DecoderLayer,
    DeepseekV2MLP,
    DeepseekV2MoE,
    DeepseekV2RMSNorm,
)
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2

DECODER = DecoderConfig()
EAGER, FLASH = Conventions(), Conventions(attention="flash")
ATTENTION = [(LlamaAttention, EAGER), (LlamaFlashAttention2, FLASH)]
EACH_ATTENTION = pytest.mark.parametrize(("kind", "conventions"), ATTENTION, ids=["eager", "flash"])
EACH_PATH = pytest.mark.parametrize("attention", ["eager", "flash"])
EACH_IMPLEMENTATION = pytest.mark.parametrize("implementation", ["vendor", "transformers"])
LONG = (1024, 4096, 8192)
A4 = plan_views(1654, 2339)


def started(stage: str, context: int = 913, batch: int = 1, **conventions: Any) -> DeepseekOCRModel:
    """A model in a stage; with views in "vision"."""
    model = DeepseekOCRModel.from_config(**conventions)
    if stage == "vision":
        model.set_views(A4)
        model.start_vision(batch)
        return model
    model.start_prefill(context, batch)
    if stage == "decode":
        model.start_decode()
    return model


# Layers on their own --------------------------------------------------------------------------------------------------


@EACH_ATTENTION
@pytest.mark.parametrize(("seq_len", "batch"), [(1, 1), (100, 1), (283, 4)])
def test_a_fresh_attention_layer_equals_the_same_one_after_set_prefill_shape(kind, conventions, seq_len, batch):
    fresh = kind(DECODER, conventions, seq_len=seq_len, batch_size=batch)
    moved = kind(DECODER, conventions)
    moved.set_decode_shape(50, 2)
    moved.set_prefill_shape(seq_len, batch)
    assert moved.get_forward_cost() == fresh.get_forward_cost()
    assert moved.get_backward_cost() == fresh.get_backward_cost()
    assert moved.operation_mode == fresh.operation_mode == "prefill"


@EACH_ATTENTION
def test_a_decode_shape_counts_the_keys_read(kind, conventions):
    """context_len is what the step attends to, its own key included: 100 keys are 99 cached."""
    layer = kind(DECODER, conventions)
    layer.set_decode_shape(100, 2)
    assert layer.operation_mode == "decode"
    linears = 4 * 2 * 1280 * 1280 * 2
    assert layer.cost().counted_flops == linears + 2 * 2 * 10 * 128 * 100 * 2 + 2 * 64
    assert layer.kv_cache_bytes() == 2 * 10 * 128 * 2 * 2 * 99


@EACH_PATH
@pytest.mark.parametrize("index", [0, 1], ids=["dense", "moe"])
def test_decoder_prefill_is_the_same_before_and_after_set_prefill_state(attention, index):
    conventions = EAGER if attention == "eager" else FLASH
    layer = DeepseekV2DecoderLayer(DECODER, index, conventions, seq_len=283, batch_size=2)
    before = layer.get_forward_cost()
    layer.set_prefill_state(283, 2)
    assert layer.get_forward_cost() == before
    assert (layer.operation_mode, layer.operation_stage) == ("prefill", "prefill")
    assert layer.kv_cache.total_len() == 283
    layer.set_decode_state(283, 5, 2)
    assert layer.get_forward_cost() != before
    layer.set_prefill_state(283)
    assert layer.get_forward_cost() == before


def test_a_layer_decodes_token_by_token():
    """step_decode writes a token; the layer's cost is then that of the next one, as after set_decode_state."""
    layer, direct = DeepseekV2DecoderLayer(DECODER), DeepseekV2DecoderLayer(DECODER)
    layer.set_prefill_state(100, 2)
    for decoded in range(1, 4):
        layer.step_decode()
        direct.set_decode_state(100, decoded, 2)
        assert layer.operation_stage == "decode"
        assert layer.get_forward_cost() == direct.get_forward_cost()
        assert layer.kv_cache_bytes() == 2 * 10 * 128 * 2 * 2 * (100 + decoded) == layer.kv_cache.size_bytes()


def test_a_layer_adopts_a_cache():
    cache = SyntheticKVCache(2, 10, 128)
    layer = DeepseekV2DecoderLayer(DECODER, batch_size=2)
    layer.set_prefill_state(64, kv_cache=cache)
    assert layer.kv_cache is cache and cache.total_len() == 64
    layer.step_decode()
    assert cache.total_len() == 65
    layer.set_decode_state(10, 2, kv_cache=cache)
    assert cache.total_len() == 12


@pytest.mark.parametrize(
    "make",
    [
        lambda **size: LlamaAttention(DECODER, **size),
        lambda **size: LlamaFlashAttention2(DECODER, FLASH, **size),
        lambda **size: DeepseekV2DecoderLayer(DECODER, **size),
        lambda **size: DeepseekV2MoE(DECODER, **size),
        lambda **size: DeepseekV2MLP(1280, 6848, **size),
        lambda **size: DeepseekV2RMSNorm(1280, **size),
    ],
    ids=["attention", "flash", "layer", "moe", "mlp", "norm"],
)
def test_sizes_at_construction_and_later_are_the_same(make):
    fresh, later = make(seq_len=50, batch_size=3), make()
    later.set_batch_size(3)
    later.set_seq_len(50)
    assert later.get_forward_cost() == fresh.get_forward_cost() != make().get_forward_cost()
    assert (later.seq_len, later.batch_size) == (50, 3)


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True, "8"])
def test_sizes_must_be_positive_whole_numbers(size):
    for call in (
        lambda: DeepseekV2MLP(1280, 6848, seq_len=size),
        lambda: DeepseekV2MLP(1280, 6848, batch_size=size),
        lambda: DeepseekV2MLP(1280, 6848).set_seq_len(size),
        lambda: LlamaAttention(DECODER).set_prefill_shape(size),
        lambda: LlamaAttention(DECODER).set_decode_shape(size),
        lambda: DeepseekV2DecoderLayer(DECODER).set_prefill_state(size),
        lambda: DeepseekV2DecoderLayer(DECODER).set_decode_state(size, 0),
        lambda: DeepseekV2DecoderLayer(DECODER).set_decode_state(5, -1 if size == 0 else size),
        lambda: SyntheticKVCache(size, 10, 128),
    ):
        with pytest.raises(ModelMeterError):
            call()


def test_the_message_for_a_size_names_it():
    with pytest.raises(ValueError, match=r"^seq_len must be positive, not 0$"):
        LlamaAttention(DECODER, seq_len=0)
    with pytest.raises(ValueError, match=r"^batch_size must be positive, not -2$"):
        LlamaAttention(DECODER).set_prefill_shape(5, -2)


@EACH_ATTENTION
def test_a_wrong_size_leaves_a_layer_as_it_was(kind, conventions):
    layer = kind(DECODER, conventions)
    layer.set_decode_state(100, 3, 2)
    before = (layer.get_forward_cost(), layer.operation_mode, layer.kv_cache, layer.kv_cache.total_len())
    small = SyntheticKVCache(1, 10, 128)
    for call in (
        lambda: layer.set_prefill_shape(0),
        lambda: layer.set_prefill_shape(5, 0),
        lambda: layer.set_decode_shape(-1),
        lambda: layer.set_prefill_state(0),
        lambda: layer.set_prefill_state(5, 2, small),
        lambda: layer.set_decode_state(5, -1),
        lambda: layer.set_decode_state(5, 0, 2, small),
        lambda: layer.step_decode(3),
        lambda: layer.set_seq_len(0),
        lambda: layer.set_batch_size(0),
    ):
        with pytest.raises(ModelMeterError):
            call()
        assert (layer.get_forward_cost(), layer.operation_mode, layer.kv_cache, layer.kv_cache.total_len()) == before
    assert small.total_len() == 0


def test_step_decode_needs_a_cache():
    with pytest.raises(ModelMeterError, match="set_prefill_state"):
        DeepseekV2DecoderLayer(DECODER).step_decode()


def test_what_a_layer_lacks_is_zero():
    norm = DeepseekV2RMSNorm(1280, seq_len=10)
    assert norm.forward_tensor_core_flops() == 0.0
    assert norm.forward_memory_kvcache() == norm.backward_memory_kvcache() == 0.0
    assert norm.forward_cuda_core_flops() > 0


def test_the_methods_of_a_layer_are_its_costs_in_other_units():
    layer = DeepseekV2DecoderLayer(DECODER, seq_len=100, batch_size=2)
    cost, back = layer.cost(), layer.backward_cost()
    assert layer.forward_tensor_core_flops() == cost.tensor_flops / 1e12
    assert layer.forward_cuda_core_flops() == cost.cuda_flops / 1e12
    assert layer.forward_cal_io() == cost.io_bytes * 8 / 1e12
    assert layer.forward_arithmetic_intensity() == cost.flops / cost.io_bytes
    assert layer.forward_memory_weight() == 233_720_320 * 2 / 2**30
    assert layer.forward_memory_activation() == layer.activation_peak_bytes() / 2**30
    assert layer.forward_memory_kvcache() == 2 * 10 * 128 * 2 * 200 / 2**30
    assert layer.backward_tensor_core_flops() == back.tensor_flops / 1e12
    assert layer.backward_cuda_core_flops() == back.cuda_flops / 1e12
    assert layer.backward_cal_io() == back.io_bytes * 8 / 1e12
    assert layer.backward_arithmetic_intensity() == back.flops / back.io_bytes
    assert layer.backward_memory_weight() == layer.forward_memory_weight()
    assert layer.backward_memory_weight(frozen_weights=True) == 0.0
    assert layer.backward_memory_activation() == layer.saved_bytes() / 2**30
    assert layer.get_forward_cost().cost == cost and layer.get_backward_cost().cost == back


# Growth ---------------------------------------------------------------------------------------------------------------

CONTEXTS = (1, 2, 3, 10, 100, 283, 913, 1024, 4096, 8192)
GROWING = ("counted_flops", "tensor_flops", "flops", "activation_bytes", "kv_bytes", "io_bytes")


@EACH_IMPLEMENTATION
@EACH_PATH
def test_prefill_grows_with_context(implementation, attention):
    models = [started("prefill", context, implementation=implementation, attention=attention) for context in CONTEXTS]
    for short, long in itertools.pairwise(models):
        for name in GROWING:
            assert getattr(short.cost(), name) < getattr(long.cost(), name), name
        assert short.cost().weight_bytes <= long.cost().weight_bytes  # more experts are reached, until all are
        assert short.activation_peak_bytes() < long.activation_peak_bytes()
        assert short.kv_cache_bytes() < long.kv_cache_bytes()


@EACH_IMPLEMENTATION
@EACH_PATH
def test_decode_grows_with_context(implementation, attention):
    models = [started("decode", context, implementation=implementation, attention=attention) for context in CONTEXTS]
    for short, long in itertools.pairwise(models):
        for name in ("counted_flops", "tensor_flops", "flops", "kv_bytes", "io_bytes"):
            assert getattr(short.cost(), name) < getattr(long.cost(), name), name
        assert short.cost().weight_bytes == long.cost().weight_bytes
        assert short.cost().activation_bytes <= long.cost().activation_bytes
        assert short.kv_cache_bytes() < long.kv_cache_bytes()


# Eager and flash ------------------------------------------------------------------------------------------------------


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("context", [1, 2, 100, 913, 8192])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_flash_does_the_same_work_and_moves_fewer_bytes(implementation, batch, context, stage):
    eager, flash = (
        started(stage, context, batch, implementation=implementation, attention=kind).cost()
        for kind in ("eager", "flash")
    )
    assert (flash.counted_flops, flash.tensor_flops) == (eager.counted_flops, eager.tensor_flops)
    assert flash.io_bytes < eager.io_bytes
    assert flash.activation_bytes < eager.activation_bytes
    assert (flash.weight_bytes, flash.kv_bytes) == (eager.weight_bytes, eager.kv_bytes)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("shape", [(1, 0), (2, 0), (100, 0), (1, 100), (7, 100)], ids=str)
def test_flash_attention_layer_has_equal_flops_down_to_the_elementwise_ones(batch, shape):
    """The kernel masks by itself what the eager core adds a mask for: one addition a score in both."""
    queries, past = shape
    eager = LlamaAttention(DECODER, EAGER).trace_at(queries, batch, past).total
    flash = LlamaFlashAttention2(DECODER, FLASH).trace_at(queries, batch, past).total
    assert (eager.tensor_flops, eager.cuda_flops, eager.counted_flops) == (
        flash.tensor_flops,
        flash.cuda_flops,
        flash.counted_flops,
    )
    assert flash.io_bytes < eager.io_bytes


@EACH_IMPLEMENTATION
def test_vision_eager_and_flash(implementation):
    eager, flash = (
        started("vision", implementation=implementation, attention=kind).cost() for kind in ("eager", "flash")
    )
    assert eager.counted_flops == flash.counted_flops
    assert flash.io_bytes <= eager.io_bytes if implementation == "vendor" else flash.io_bytes < eager.io_bytes


@pytest.mark.parametrize("cache", ["concat", "in_place"])
@pytest.mark.parametrize("batch", [1, 4])
def test_flash_decode_activations_do_not_grow_with_context(batch, cache):
    """Neither the bytes moved nor the peak: keys and values are the cache's, scores never reach memory."""
    layer = LlamaFlashAttention2(DECODER, Conventions(attention="flash", cache=cache), batch_size=batch)
    found = set()
    for context in (2, 100, *LONG):
        layer.set_decode_shape(context)
        model = started("decode", context, batch, attention="flash", cache=cache)
        of_layer = layer.cost().activation_bytes, layer.activation_peak_bytes()
        found.add((*of_layer, model.cost().activation_bytes, model.activation_peak_bytes()))
    assert len(found) == 1


@pytest.mark.parametrize("past", [0, 100, 4096])
def test_flash_activations_scale_with_the_query_tokens(past):
    """Attention over a cache: twice the query tokens are twice the activations, whatever is cached."""
    layer = LlamaFlashAttention2(DECODER, Conventions(attention="flash", cache="in_place"))
    one = layer.trace_at(1, 1, past)
    for queries in (2, 3, 16, 256):
        several = layer.trace_at(queries, 1, past)
        assert several.total.activation_bytes == queries * one.total.activation_bytes
        assert several.peak_bytes == queries * one.peak_bytes


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("context", LONG)
def test_flash_decode_activations_against_eager_and_prefill(implementation, batch, context):
    """Within twice the eager path's, and far below prefill's (a thousandth of its tokens: here at least 100 times)."""
    eager, flash = (
        started("decode", context, batch, implementation=implementation, attention=a) for a in ("eager", "flash")
    )
    assert flash.activation_peak_bytes() <= 2 * eager.activation_peak_bytes()
    assert flash.cost().activation_bytes <= 2 * eager.cost().activation_bytes
    prefill = started("prefill", context, batch, implementation=implementation, attention="flash")
    assert 100 * flash.activation_peak_bytes() < prefill.activation_peak_bytes()
    assert 100 * flash.cost().activation_bytes < prefill.cost().activation_bytes


# Stages ---------------------------------------------------------------------------------------------------------------


class Stub(Layer):
    """A part of a known price: 2 * units**2 counted FLOPs a call, whatever it is called with."""

    units = 1

    def forward(self, x: Tensor, *args: Any) -> Tensor:
        column = ops.empty((1, self.units, 1), BF16)
        ops.bmm(column, column.view(1, 1, self.units))
        return x


class VisionStub(Stub):
    units = 7


class DecoderStub(Stub):
    units = 11


class OtherDecoderStub(Stub):
    units = 13


class HeadStub(Stub):
    units = 17


VISION, DECODE, OTHER, HEAD = (2 * n * n for n in (7, 11, 13, 17))


def test_stages_pick_exactly_their_parts():
    model = DeepseekOCRModel.from_layers(VisionStub(), DecoderStub(), num_decoder_layers=5, head=HeadStub())
    model.set_views(ViewPlan.from_grid((1, 1)))
    model.start_vision()
    assert model.cost().counted_flops == VISION
    model.start_prefill(300)
    assert model.cost().counted_flops == VISION + 5 * DECODE + HEAD
    model.extend_prefill(7)
    assert model.cost().counted_flops == 5 * DECODE + HEAD
    model.start_decode()
    assert model.cost().counted_flops == 5 * DECODE + HEAD
    model.set_views(None)
    model.start_prefill(300)
    assert model.cost().counted_flops == 5 * DECODE + HEAD


def test_vision_is_called_once_for_each_batch_of_views():
    model = DeepseekOCRModel.from_layers(VisionStub(), DecoderStub(), 1)
    model.set_views(ViewPlan.from_grid((2, 3)))
    model.start_vision(4)
    assert model.cost().counted_flops == 2 * VISION  # the tiles as one batch, the global view as another
    assert model.trace().by_op()["bmm"].calls == 2


def test_a_sequence_of_layers_and_no_head():
    model = DeepseekOCRModel.from_layers(None, [DecoderStub(), OtherDecoderStub(), DecoderStub()])
    model.start_prefill(10)
    assert model.cost().counted_flops == 2 * DECODE + OTHER
    model.start_decode()
    assert model.cost().counted_flops == 2 * DECODE + OTHER
    by_layer = model.trace().by_layer()
    assert [by_layer[f"model.layers.{i}"].counted_flops for i in range(3)] == [DECODE, OTHER, DECODE]


def test_a_run_of_stubs():
    model = DeepseekOCRModel.from_layers(VisionStub(), DecoderStub(), 3, HeadStub())
    model.set_views(ViewPlan.from_grid((1, 1)))
    model.start_prefill(300)
    run = model.simulate_run(decode_tokens=4)
    assert run.prefill.cost.counted_flops == VISION + 3 * DECODE + HEAD
    assert run.decode.cost.counted_flops == 4 * (3 * DECODE + HEAD)
    assert run.total.cost.counted_flops == VISION + 5 * (3 * DECODE + HEAD)


def test_real_layers_in_from_layers_equal_the_whole_model():
    """The released decoder layers, handed over one by one, without table and norm."""
    whole = started("prefill", 100)
    dense, moe = DeepseekV2DecoderLayer(DECODER, 0), DeepseekV2DecoderLayer(DECODER, 1)
    model = DeepseekOCRModel.from_layers(None, [dense, *[moe] * 11])
    model.start_prefill(100)
    for i in range(12):
        path = f"model.layers.{i}"
        assert model.trace().by_layer()[path] == whole.trace().by_layer()[path]
    assert model.kv_cache_bytes() == whole.kv_cache_bytes()


@EACH_IMPLEMENTATION
@EACH_PATH
@pytest.mark.parametrize("pages", [1, 2])
def test_prefill_is_vision_and_decoder_prefill(implementation, attention, pages):
    """And the splice: placeholders are looked for (the vendor's code is told where), image tokens take their place."""
    model = DeepseekOCRModel.from_config(implementation=implementation, attention=attention)
    model.set_views(A4)
    model.start_vision(pages)
    vision = model.cost()
    model.start_prefill(913, pages)
    both, splice = model.cost(), mm.Cost()
    for name in ("masked_scatter_",) if implementation == "vendor" else ("eq", "masked_scatter"):
        splice += model.trace().by_op()[name].cost
    model.set_views(None)
    model.start_prefill(913, pages)
    text = model.cost()
    assert both.counted_flops == vision.counted_flops + text.counted_flops
    assert both.tensor_flops == vision.tensor_flops + text.tensor_flops
    assert both.weight_bytes == vision.weight_bytes + text.weight_bytes
    assert both.kv_bytes == text.kv_bytes
    if implementation == "vendor":
        assert both == vision + text + splice
    ids, spliced = pages * 913, pages * 903
    assert model.get_forward_cost().kv_gb == 61_440 * pages * 913 / 2**30
    if implementation == "vendor":
        assert splice.activation_write_bytes == spliced * 1280 * 2
        assert splice.activation_read_bytes == spliced * 1280 * 2 + ids  # the tokens, and a bool a position


@EACH_IMPLEMENTATION
@EACH_PATH
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("context", [2, 10, 100, 913, 8192])
def test_a_decode_step_costs_at_most_its_prefill(implementation, attention, batch, context):
    prefill, decode = (
        started(stage, context, batch, implementation=implementation, attention=attention)
        for stage in ("prefill", "decode")
    )
    assert 0 <= decode.cost().flops <= prefill.cost().flops
    assert 0 <= decode.cost().counted_flops <= prefill.cost().counted_flops
    assert 0 <= decode.cost().activation_bytes <= prefill.cost().activation_bytes
    assert 0 <= decode.activation_peak_bytes() <= prefill.activation_peak_bytes()
    assert 0 <= decode.cost().weight_bytes <= prefill.cost().weight_bytes
    if context > 2:  # two tokens read two keys each time; a step then reads three, and the old cache
        assert 0 <= decode.cost().io_bytes <= prefill.cost().io_bytes


def test_free_functions_are_the_stages():
    model, other = DeepseekOCRModel.from_config(), DeepseekOCRModel.from_config()
    for each in (model, other):
        each.set_views(A4)
    other.start_vision(2)
    assert mm.get_vision_cost(model, 2) == other.get_forward_cost()
    other.start_prefill(913, 2)
    assert mm.get_prefill_cost(model, context_len=913, batch_size=2) == other.get_forward_cost()
    other.start_decode()
    assert mm.get_decode_cost_per_token(model) == other.get_forward_cost()
    assert model.operation_mode == "decode"


def test_operation_mode_follows_the_stages():
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_vision()
    assert model.operation_mode == "vision"
    model.start_prefill(913)
    assert model.operation_mode == "prefill"
    model.start_decode()
    assert model.operation_mode == "decode"
    model.extend_prefill(5)
    assert model.operation_mode == "prefill"
    with pytest.raises(AttributeError):
        model.operation_mode = "decode"


def test_views_take_effect_with_the_next_start():
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(913)
    before = model.cost()
    model.set_views(None)
    assert model.cost() == before
    model.start_prefill(913)
    assert model.cost() != before


# The cache ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
def test_the_cache_grows_by_one_token_a_step(batch):
    model = DeepseekOCRModel.from_config()
    cache = model.start_prefill(100, batch)
    model.start_decode()
    for decoded in range(5):
        size = 61_440 * batch * (100 + decoded)
        assert model.kv_cache_bytes() == cache.size_bytes() == size
        assert model.get_forward_cost().kv_gb == model.forward_memory_kvcache() == cache.size_gb() == size / 2**30
        assert (cache.total_len(), cache.context_len, cache.decode_len) == (100 + decoded, 100, decoded)
        model.decode_one_token()


def test_each_step_costs_one_more_key():
    """12 layers, scores and values of one more token: 2 * 2 * 10 * 128 FLOPs each."""
    model = started("decode", 100, 3)
    before = model.cost()
    model.decode_one_token()
    assert model.cost().counted_flops - before.counted_flops == 12 * 2 * 2 * 10 * 128 * 3


def test_start_prefill_adopts_a_cache():
    model = DeepseekOCRModel.from_config()
    cache = SyntheticKVCache.from_config(DECODER, batch=2)
    assert model.start_prefill(100, 2, kv_cache=cache) is cache is model.kv_cache
    assert cache.total_len() == 100
    model.start_decode()
    model.decode_one_token()
    assert cache.total_len() == 101
    assert model.start_prefill(50, 2) is cache  # its own; it starts over
    assert (cache.total_len(), cache.decode_len) == (50, 0)
    assert model.start_prefill(50, 1) is not cache  # another batch needs another
    assert cache.total_len() == 50


def test_prefill_into_a_filled_cache_costs_that_of_an_empty_past():
    model = DeepseekOCRModel.from_config()
    filled = SyntheticKVCache.from_config(DECODER)
    filled.context_len, filled.decode_len = 700, 7
    model.start_prefill(100, kv_cache=filled)
    assert model.cost() == started("prefill", 100).cost()
    assert filled.total_len() == 100


def test_decode_from_a_given_cache():
    model = DeepseekOCRModel.from_config()
    cache = SyntheticKVCache.from_config(DECODER, batch=2)
    cache.context_len, cache.decode_len = 100, 5
    model.start_decode(cache)
    assert model.cost() == started("decode", 105, 2).cost()
    assert model.kv_cache_bytes() == 61_440 * 2 * 105


def test_configure_workload_sets_defaults():
    model, other = DeepseekOCRModel.from_config(), DeepseekOCRModel.from_config()
    model.configure_workload(context_len=913, batch_size=2, views=A4, decode_tokens=20)
    other.set_views(A4)
    other.start_prefill(913, 2)
    assert model.views == A4
    assert model.simulate_run() == other.simulate_run(decode_tokens=20)
    model.start_prefill()
    assert model.get_forward_cost() == other.get_forward_cost()
    assert model.simulate_run() == other.simulate_run(decode_tokens=20)


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("cache", ["concat", "in_place"])
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_a_run_is_its_prefill_and_its_steps(attention, cache, tokens):
    model = DeepseekOCRModel.from_config(attention=attention, cache=cache)
    model.set_views(A4)
    model.start_prefill(913, 2)
    prefill = model.get_forward_cost()
    run = model.simulate_run(decode_tokens=tokens)
    assert run.prefill == prefill
    model.start_decode()
    decode, peaks = mm.Cost(), []
    for _ in range(tokens):
        decode += model.cost()
        peaks.append(model.activation_peak_bytes())
        model.decode_one_token()
    assert run.decode.cost == decode
    assert run.decode.activations_bytes == max(peaks)
    assert run.decode.kv_cache_bytes == model.kv_cache_bytes() == 61_440 * 2 * (913 + tokens)
    assert run.total.cost == prefill.cost + decode
    assert run.prefill_flops_tflops == prefill.cost.flops / 1e12
    assert run.decode_flops_tflops == decode.flops / 1e12
    assert run.decode_tokens == tokens


def test_a_run_without_decode_is_the_prefill():
    model = started("prefill", 100)
    run = model.simulate_run(decode_tokens=0)
    assert run.total.cost == run.prefill.cost == model.cost()
    assert run.decode.cost == mm.Cost()
    assert run.decode.kv_cache_bytes == run.prefill.kv_cache_bytes


def test_a_run_over_chunks_counts_each_chunk():
    model = DeepseekOCRModel.from_config()
    costs = []
    model.start_prefill(100)
    costs.append(model.cost())
    for tokens in (28, 1, 300):
        model.extend_prefill(tokens)
        costs.append(model.cost())
    run = model.simulate_run(decode_tokens=3)
    assert run.prefill.cost == costs[0] + costs[1] + costs[2] + costs[3]
    assert run.decode.kv_cache_bytes == 61_440 * (429 + 3)


def test_chunks_do_the_linear_work_of_one_prefill_and_a_causal_part_of_the_scores():
    """Chunks of one token, as the triangle says: scores of 1 + 2 + ... + n keys instead of n * n."""
    whole = started("prefill", 20, causal="triangle", elementwise=False)
    model = DeepseekOCRModel.from_config(elementwise=False)
    model.start_prefill(1)
    tensor_flops = model.cost().tensor_flops
    for _ in range(19):
        model.extend_prefill(1)
        tensor_flops += model.cost().tensor_flops
    assert tensor_flops == whole.cost().tensor_flops


def whole_numbers(cost: mm.StageCost, i: int | None = None) -> list[int]:
    """All exact numbers of a stage's cost but the expected weight reads, or element `i` of each."""
    values = [cost.cost.counted_flops, cost.cost.tensor_flops, cost.cost.cuda_flops, cost.cost.activation_read_bytes]
    values += [cost.cost.activation_write_bytes, cost.cost.kv_bytes, cost.activations_bytes, cost.kv_cache_bytes]
    return values if i is None else [int(np.broadcast_to(value, (9,))[i]) for value in values]


def test_a_sweep_of_runs_is_each_run():
    """Also a run of no decode steps, also after a prefill of one token."""
    contexts = np.array([1, 1, 1, 2, 2, 2, 913, 913, 913])
    tokens = np.array([0, 1, 9, 0, 1, 9, 0, 1, 800])
    model = DeepseekOCRModel.from_config()
    model.start_prefill(contexts)
    swept = model.simulate_run(decode_tokens=tokens)
    for i, (context, number) in enumerate(zip(contexts.tolist(), tokens.tolist(), strict=True)):
        single = started("prefill", context).simulate_run(decode_tokens=number)
        assert whole_numbers(swept.prefill, i) == whole_numbers(single.prefill)
        assert whole_numbers(swept.decode, i) == whole_numbers(single.decode)
        assert whole_numbers(swept.total, i) == whole_numbers(single.total)


def test_a_sweep_of_prefills_is_each_prefill():
    """A sweep over contexts gives each context's own cost."""
    contexts = np.array([5, 100, 913])
    model = DeepseekOCRModel.from_config()
    model.start_prefill(contexts)
    swept = model.cost()
    for i, context in enumerate(contexts):
        single = started("prefill", int(context)).cost()
        assert swept.counted_flops[i] == single.counted_flops
        assert swept.kv_bytes[i] == single.kv_bytes
        assert swept.activation_bytes[i] == single.activation_bytes


# Asking changes nothing -----------------------------------------------------------------------------------------------


def questions(model: DeepseekOCRModel) -> dict[str, Any]:
    asked = {name: getattr(model, name)() for name in dir(model) if name.startswith(("forward_", "backward_"))}
    return asked | {
        "cost": model.cost(),
        "cost without elementwise": model.cost(elementwise=False),
        "backward": model.backward_cost(),
        "frozen": model.backward_cost(frozen_weights=True),
        "forward": model.get_forward_cost(),
        "get_backward": model.get_backward_cost(),
        "peak": model.activation_peak_bytes(),
        "saved": model.saved_bytes(),
        "weights": (model.parameter_bytes(), model.parameter_count()),
        "kv": model.kv_cache_bytes(),
        "layers": model.trace().by_layer(),
        "rows": model.trace().by_layer(3),
        "operators": model.trace().by_op(),
        "number of operators": len(model.trace()),
        "parts": model.part_costs(),
        "trace with gradients": model.trace(grad=True).backward,
    }


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
def test_asking_twice_changes_nothing(implementation, stage):
    model = started(stage, implementation=implementation)
    cache = model.kv_cache
    before = (model.operation_mode, model.views, cache and (cache.context_len, cache.decode_len))
    first = questions(model)
    if stage != "vision":
        model.simulate_run(decode_tokens=5)
        mm.formula(model, "flops", stage="decode")
        assert model.simulate_run(decode_tokens=5) == model.simulate_run(decode_tokens=5)
    assert questions(model) == first
    assert (model.operation_mode, model.views, cache and (cache.context_len, cache.decode_len)) == before
    assert model.kv_cache is cache
    assert questions(started(stage, implementation=implementation)) == first


def test_a_model_remembers_nothing_of_earlier_sizes():
    """Whatever was asked before, the same stage has the same cost: recordings are remembered by shape."""
    model = DeepseekOCRModel.from_config(implementation="transformers")
    for context, batch in [(100, 1), (100, 2), (1, 1), (913, 4), (2, 1), (100, 1)]:
        model.start_prefill(context, batch)
        assert questions(model) == questions(started("prefill", context, batch, implementation="transformers"))
        model.start_decode()
        assert questions(model) == questions(started("decode", context, batch, implementation="transformers"))


# Misuse ---------------------------------------------------------------------------------------------------------------


def state(model: DeepseekOCRModel) -> tuple[Any, ...]:
    cache = model.kv_cache
    lengths = None if cache is None else (cache.batch, cache.context_len, cache.decode_len)
    try:
        stage = (model.operation_mode, model.get_forward_cost(), model.simulate_run(decode_tokens=2))
    except ModelMeterError:
        stage = ()
    return (id(cache), lengths, model.views, stage)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.start_decode(), r"start_decode\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.decode_one_token(), r"decode_one_token\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.extend_prefill(5), r"extend_prefill\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.start_vision(), r"start_vision\(\) needs views: call set_views\("),
        (lambda model: model.cost(), "needs a stage: call start_vision"),
        (lambda model: model.trace(), "needs a stage: call start_vision"),
        (lambda model: model.get_forward_cost(), "needs a stage: call start_vision"),
        (lambda model: model.operation_mode, "needs a stage: call start_vision"),
        (lambda model: model.simulate_run(decode_tokens=5), r"simulate_run\(\) needs a prefill: call start_prefill\("),
        (lambda model: model.simulate_run(), r"simulate_run\(\) needs decode_tokens"),
        (lambda model: model.start_prefill(), r"start_prefill\(\) needs context_len"),
        (lambda model: model.set_views((1, 1024)), r"set_views\(\) takes a ViewPlan"),
    ],
)
def test_wrong_order(call, message):
    model = DeepseekOCRModel.from_config()
    before = state(model)
    with pytest.raises(ModelMeterError, match=message):
        call(model)
    assert state(model) == before


@pytest.mark.parametrize("stage", ["vision", "prefill"])
def test_decode_one_token_outside_decode(stage):
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(913)
    if stage == "vision":
        model.start_vision()
    before = state(model)
    with pytest.raises(ModelMeterError, match=r"decode_one_token\(\) runs in decode: call start_decode\(\) first"):
        model.decode_one_token()
    assert state(model) == before


@pytest.mark.parametrize("size", [0, -1, 1.5, "12", True, np.array([3, 0]), np.array([]), np.array([1.5])], ids=str)
@pytest.mark.parametrize("stage", ["nothing", "vision", "prefill", "decode"])
def test_sizes_that_are_not_positive(size, stage):
    model = DeepseekOCRModel.from_config()
    if stage != "nothing":
        model.set_views(A4)
        model.start_prefill(950, 2)
        model.start_decode()
        model.decode_one_token()
    if stage == "vision":
        model.start_vision()
    if stage == "prefill":
        model.extend_prefill(5)
    calls = [
        lambda: model.start_prefill(size),
        lambda: model.start_prefill(950, size),
        lambda: model.configure_workload(size),
        lambda: model.configure_workload(950, size),
    ]
    if stage != "nothing":
        calls += [lambda: model.start_vision(size), lambda: model.extend_prefill(size)]
        if str(size) not in ("0", "[3 0]"):  # a run without decode steps is a prefill
            calls += [lambda: model.simulate_run(decode_tokens=size)]
    before = state(model)
    for call in calls:
        with pytest.raises(ModelMeterError):
            call()
        assert state(model) == before


def test_a_context_shorter_than_its_image_tokens():
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(903)
    before = state(model)
    with pytest.raises(ModelMeterError, match="context_len 902 is shorter than the 903 image tokens"):
        model.start_prefill(902)
    with pytest.raises(ModelMeterError, match="context_len 100 is shorter than the 903 image tokens"):
        model.configure_workload(100, views=A4)
    with pytest.raises(ModelMeterError, match="shorter than the 903 image tokens"):
        model.start_prefill(np.array([2000, 902]))
    assert state(model) == before


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (SyntheticKVCache(1, 8, 128, 12, 50), "num_kv_heads 8"),
        (SyntheticKVCache(1, 10, 64, 12, 50), "head_dim 64"),
        (SyntheticKVCache(1, 10, 128, 11, 50), "11 layers"),
    ],
)
def test_a_cache_that_does_not_match(cache, message):
    model = started("decode", 100)
    before = state(model)
    for call in (lambda: model.start_prefill(10, 1, cache), lambda: model.start_decode(cache)):
        with pytest.raises(ModelMeterError, match=message):
            call()
        assert state(model) == before
        assert cache.total_len() == 50


def test_a_cache_of_another_batch():
    model, cache = started("decode", 100), SyntheticKVCache.from_config(DECODER, batch=2)
    before = state(model)
    with pytest.raises(ModelMeterError, match="batch 2"):
        model.start_prefill(10, 3, cache)
    assert state(model) == before
    assert cache.total_len() == 0


def test_decode_from_an_empty_cache():
    model = DeepseekOCRModel.from_config()
    with pytest.raises(ModelMeterError, match=r"empty KV cache: prefill it with start_prefill\(\)"):
        model.start_decode(SyntheticKVCache.from_config(DECODER))
    assert model.kv_cache is None


def test_a_cache_of_other_element_size():
    """The model caches bf16: a cache of fp32 or fp8 values is not its."""
    model = DeepseekOCRModel.from_config()
    with pytest.raises(ModelMeterError, match="bytes_per_value"):
        model.start_prefill(10, 1, SyntheticKVCache(1, 10, 128, 12, bytes_per_value=4))
    assert model.kv_cache is None


def test_a_model_without_a_decoder_or_without_vision():
    blind = DeepseekOCRModel.from_layers(None, DecoderStub(), 2)
    blind.set_views(A4)
    with pytest.raises(ModelMeterError, match=r"start_vision\(\) needs a vision part"):
        blind.start_vision()
    with pytest.raises(ModelMeterError, match=r"start_prefill\(\) with views needs a vision part"):
        blind.start_prefill(913)
    assert blind.kv_cache is None
    blind.set_views(None)
    blind.start_prefill(913)
    assert blind.cost().counted_flops == 2 * DECODE

    seeing = DeepseekOCRModel.from_layers(VisionStub(), [])
    seeing.set_views(A4)
    seeing.start_vision()
    before = seeing.cost()
    for call in (lambda: seeing.start_prefill(913), lambda: seeing.start_decode()):
        with pytest.raises(ModelMeterError, match="needs decoder layers"):
            call()
        assert seeing.operation_mode == "vision" and seeing.cost() == before and seeing.kv_cache is None


def test_from_layers_checks_its_numbers():
    with pytest.raises(ModelMeterError, match="num_decoder_layers must be positive"):
        DeepseekOCRModel.from_layers(None, DecoderStub())
    with pytest.raises(ModelMeterError, match="num_decoder_layers is 3, but 2 layers were given"):
        DeepseekOCRModel.from_layers(None, [DecoderStub(), DecoderStub()], 3)


def test_a_layer_without_forward_says_so():
    class Empty(Layer):
        """Nothing."""

    model = DeepseekOCRModel.from_layers(None, Empty(), 1)
    model.start_prefill(5)
    with pytest.raises(NotImplementedError, match="Empty needs a forward"):
        model.cost()
    whole = started("prefill", 5)
    assert whole.cost().counted_flops > 0  # the failed recording left nothing open


def test_unknown_conventions_are_named():
    for wrong, message in (
        ({"implementation": "torch"}, "implementation 'torch' is unknown"),
        ({"attention": "sdpa"}, "attention 'sdpa' is unknown"),
        ({"coverage": 65}, "coverage 65"),
        ({"coverage": "mean"}, "coverage 'mean'"),
        ({"coverage": -1}, "coverage -1"),
        ({"atention": "eager"}, "unknown convention 'atention'"),
    ):
        with pytest.raises(ModelMeterError, match=message):
            DeepseekOCRModel.from_config(**wrong)


def test_tensors_of_a_recording_are_useless_after_it():
    kept = []

    class Keeps(Layer):
        def forward(self, x: Tensor, *args: Any) -> Tensor:
            kept.append(x)
            return ops.unary("add", x)

    model = DeepseekOCRModel.from_layers(None, Keeps(), 1)
    model.start_prefill(5)
    assert model.cost().cuda_flops > 0
    with pytest.raises(ModelMeterError, match="inside a recording only"):
        ops.unary("add", kept[0])


def test_costs_cannot_be_asked_inside_a_forward():
    class Asks(Layer):
        def forward(self, x: Tensor, *args: Any) -> Tensor:
            DeepseekV2MLP(1280, 6848).cost()
            return x

    model = DeepseekOCRModel.from_layers(None, Asks(), 1)
    model.start_prefill(5)
    with pytest.raises(ModelMeterError, match=r"forward\(\) must not ask for costs"):
        model.cost()
    assert started("prefill", 5).cost().counted_flops > 0


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_given_layers_bring_their_conventions(implementation, attention):
    """A model of twins counts what the whole model's layers count; others than theirs are refused."""
    whole = DeepseekOCRModel.from_config(implementation=implementation, attention=attention)
    layers = whole.network.model.layers
    model = DeepseekOCRModel.from_layers(None, layers)
    assert model.conventions == whole.conventions
    for each in (whole, model):
        each.start_prefill(100, 2)
    decoder = [each.trace().by_layer() for each in (whole, model)]
    assert decoder[0]["model.layers.3"] == decoder[1]["model.layers.3"]
    with pytest.raises(ModelMeterError, match="other conventions"):
        DeepseekOCRModel.from_layers(None, layers, causal="triangle")
