"""Layers on their own: their sizes, shapes, states and caches. Relations that hold whatever the numbers."""

import pytest
from support.staged import DECODER, EACH_ATTENTION, EACH_PATH, EAGER, FLASH

from modelmeter import ModelMeterError, SyntheticKVCache
from modelmeter.models.deepseek_ocr.deepseek_v2 import (
    DeepseekV2DecoderLayer,
    DeepseekV2MLP,
    DeepseekV2MoE,
    DeepseekV2RMSNorm,
)
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2


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
