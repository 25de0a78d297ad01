"""Quantised linear layers and cached attention, operator by operator, in arithmetic."""

import pytest
from support.harness import trace_call

from modelmeter import ModelMeterError, Precision, SyntheticKVCache
from modelmeter.core.tensor import BF16, FP8, INT8
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2
from modelmeter.nn.linear import Linear
from modelmeter.nn.moe import ExpertLinear

K, N, ROWS = 1280, 896, 2 * 5
FORMATS = {
    "fp8": K * N + N * 4,
    "int8": K * N + N * 4,
    "int4": K * N // 2 + N * 10 * 2 + N * 10 // 2,  # 10 groups of 128
}
EIGHT_BITS = [("fp8", FP8), ("int8", INT8)]


def linear(precision: Precision, bias: bool = False) -> Linear:
    """1280 -> 896 over 2 sequences of 5 tokens."""
    layer = Linear(K, N, bias, seq_len=5, batch_size=2)
    layer.weight.scheme = precision.scheme
    return layer


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("weights", FORMATS)
def test_weights_alone(weights, bias):
    """The product is as ever, in bf16; the weight is read as it is stored, the bias in bf16."""
    layer, plain = linear(Precision(weights=weights), bias), linear(Precision(), bias)
    (op,) = [op for _, op in layer.trace().operators()]
    stored = FORMATS[weights] + (N * 2 if bias else 0)
    assert op.dtype is BF16
    assert op.cost.weight_read_bytes == layer.parameter_bytes() == stored
    assert layer.parameter_count() == plain.parameter_count() == K * N + (N if bias else 0)
    assert op.cost.tensor_flops == op.cost.counted_flops == 2 * ROWS * K * N
    assert (op.cost.activation_read_bytes, op.cost.activation_write_bytes) == (2 * ROWS * K, 2 * ROWS * N)
    assert layer.activation_peak_bytes() == plain.activation_peak_bytes()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("kind", "dtype"), EIGHT_BITS)
def test_weights_and_activations(kind, dtype, bias):
    """The input is quantised, with a scale a row; the product of 8-bit operands gives bf16."""
    layer = linear(Precision(weights=kind, activations=kind), bias)
    quantize, product = [op for _, op in layer.trace().operators()]
    values, scales = ROWS * K, 4 * ROWS
    assert (quantize.name, quantize.dtype, product.dtype) == ("quantize", dtype, dtype)
    assert quantize.cost.cuda_flops == 3 * ROWS * K  # absolute maximum, division, rounding
    assert quantize.cost.activation_read_bytes == 2 * ROWS * K
    assert quantize.cost.activation_write_bytes == product.cost.activation_read_bytes == values + scales
    assert product.cost.weight_read_bytes == FORMATS[kind] + (N * 2 if bias else 0)
    assert product.cost.activation_write_bytes == 2 * ROWS * N
    assert product.cost.tensor_flops == product.cost.counted_flops == 2 * ROWS * K * N
    # The input, its quantised copy and the output are held at once.
    assert layer.activation_peak_bytes() == 2 * ROWS * K + values + scales + 2 * ROWS * N


@pytest.mark.parametrize("hit", [1, 6, 6.3])
@pytest.mark.parametrize("weights", ["bf16", *FORMATS])
def test_experts_are_read_as_they_are_stored(weights, hit):
    """One expert's bytes for each expert reached, rounded once."""
    layer = ExpertLinear(64, K, N)
    layer.weight.scheme = Precision(weights=weights).scheme
    trace = trace_call(layer, lambda recorder: (recorder.take((ROWS, K), BF16), hit))
    one = FORMATS.get(weights, 2 * K * N)
    assert trace.total.weight_read_bytes == round(one * hit)
    assert layer.parameter_bytes() == 64 * one


@pytest.mark.parametrize(("kind", "dtype"), EIGHT_BITS)
def test_experts_quantise_their_rows(kind, dtype):
    layer = ExpertLinear(64, K, N)
    layer.weight.scheme = Precision(weights=kind, activations=kind).scheme
    trace = trace_call(layer, lambda recorder: (recorder.take((ROWS, K), BF16), 6))
    quantize, product = [op for _, op in trace.operators()]
    assert quantize.cost.activation_write_bytes == product.cost.activation_read_bytes == ROWS * K + 4 * ROWS
    assert (product.dtype, product.groups) == (dtype, 6)
    assert product.cost.activation_write_bytes == 2 * ROWS * N


@pytest.mark.parametrize("precision", [Precision(weights="int4"), Precision(weights="int8", activations="int8")])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_quantised_layer_has_no_backward_pass(precision, frozen):
    with pytest.raises(ModelMeterError, match="a quantised model has no backward pass: build it without"):
        linear(precision).backward_cost(frozen_weights=frozen)


# Attention over a quantised cache: 3 sequences, 10 query heads on 5 key-value heads of 128 ----------------------------

BATCH, HEADS, D = 3, 5, 128
VALUES = BATCH * HEADS * D  # of one token's keys (or values)


def attention(kv: str | None, kind: str, **conventions: str) -> LlamaAttention:
    config = DecoderConfig(num_key_value_heads=HEADS)
    made = (LlamaFlashAttention2 if kind == "flash" else LlamaAttention)(
        config, Conventions(attention=kind, **conventions)
    )
    made.kv_format = Precision(kv=kv).kv_format
    made.set_batch_size(BATCH)
    return made


@pytest.mark.parametrize("kind", ["eager", "flash"])
@pytest.mark.parametrize(("kv", "row", "flops"), [("fp8", D, 2), ("int8", D + 2, 3)])  # int8 finds its scale itself
@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_a_decode_step(kv, row, flops, kind, implementation):
    """100 keys, the new token's included. In place: one token written; eager attention reads a 16-bit copy."""
    layer = attention(kv, kind, cache="in_place", implementation=implementation)
    layer.set_decode_shape(100)
    operators = [op for _, op in layer.trace().operators()]
    token = BATCH * HEADS * row
    writes = [op for op in operators if op.name.startswith("quantize")]
    assert [op.cost.kv_write_bytes for op in writes] == [token, token]
    assert [op.cost.activation_read_bytes for op in writes] == [2 * VALUES, 2 * VALUES]
    assert [op.cost.cuda_flops for op in writes] == [flops * VALUES, flops * VALUES]
    total = layer.cost()
    assert total.kv_write_bytes == 2 * token == layer.kv_bytes_per_token() * BATCH
    assert total.kv_read_bytes == 2 * token * 100
    copies = [op for op in operators if op.name == "dequantize"]
    if kind == "flash":
        assert copies == []
    else:
        assert [op.cost.activation_write_bytes for op in copies] == [2 * VALUES * 100] * 2
        assert all(op.cost.flops == 0 and op.dtype is BF16 for op in copies)


@pytest.mark.parametrize("kind", ["eager", "flash"])
def test_a_cache_that_is_concatenated(kind):
    """Each step writes it anew, in 8 bits, and gives the old one back; attention reads it once more."""
    layer = attention("int8", kind, cache="concat")
    layer.set_decode_shape(100)
    token = BATCH * HEADS * (D + 2)
    trace = layer.trace()
    assert trace.total.kv_write_bytes == 2 * token * 100
    assert trace.total.kv_read_bytes == 2 * token * 99 + 2 * token * 100
    quantised = [op for _, op in trace.operators() if op.name == "quantize"]
    assert [op.cost.activation_write_bytes for op in quantised] == [token, token]


@pytest.mark.parametrize("cache", ["concat", "in_place"])
@pytest.mark.parametrize("kind", ["eager", "flash"])
@pytest.mark.parametrize(("kv", "row"), [("fp8", D), ("int8", D + 2)])
def test_a_prefill_attends_to_what_it_made(kv, row, kind, cache):
    """Nothing of the cache is read; a quantised copy of 40 tokens is written to it."""
    layer = attention(kv, kind, cache=cache)
    layer.set_prefill_shape(40)
    total = layer.cost()
    assert (total.kv_read_bytes, total.kv_write_bytes) == (0, 2 * BATCH * HEADS * row * 40)
    assert total.kv_write_bytes == layer.kv_cache_bytes()


@pytest.mark.parametrize("kind", ["eager", "flash"])
@pytest.mark.parametrize("kv", ["fp8", "int8"])
def test_the_products_are_those_of_bf16(kv, kind):
    layers = [attention(stored, kind, cache="in_place") for stored in (kv, None)]
    for shape in ("set_prefill_shape", "set_decode_shape"):
        for layer in layers:
            getattr(layer, shape)(77)
        few, many = (layer.cost() for layer in layers)
        assert (few.counted_flops, few.tensor_flops) == (many.counted_flops, many.tensor_flops)
        assert few.kv_bytes < many.kv_bytes


def test_a_quantised_cache_has_no_backward_pass():
    with pytest.raises(ModelMeterError, match="a quantised model has no backward pass"):
        attention("fp8", "eager").backward_cost()


def test_a_cache_of_another_format_does_not_fit():
    with pytest.raises(ModelMeterError, match="the KV cache has bytes_per_value 2, LlamaAttention needs 1"):
        attention("fp8", "eager").set_prefill_state(10, kv_cache=SyntheticKVCache(BATCH, HEADS, D))
    static = SyntheticKVCache(BATCH, HEADS, D, bytes_per_value=1)
    with pytest.raises(ModelMeterError, match="the KV cache has scale_bytes 0, LlamaAttention needs 2"):
        attention("int8", "eager").set_prefill_state(10, kv_cache=static)
