"""Eager and flash attention do the same work; flash moves fewer bytes and keeps less."""

import pytest
from support.staged import DECODER, EACH_IMPLEMENTATION, EAGER, FLASH, LONG, started

from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2


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
