"""Attention cores and what surrounds them: scores, copies, masks, rotary embedding, by hand and against torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.harness import tensors, trace_call
from torch.utils.flop_counter import sdpa_flop_count

from modelmeter import Layer, Trace
from modelmeter.core.tensor import BF16, INT64, Tensor
from modelmeter.models.deepseek_ocr.llama import LlamaRotaryEmbedding, RotaryEmbedding
from modelmeter.nn import attention

sizes = st.integers(1, 40)


class Calls(Layer):
    """A layer that is one function of tensors."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Tensor) -> Any:
        return self.function(*args)


def record(function: Callable[..., Any], *shapes: tuple[int, ...]) -> Trace:
    return trace_call(Calls(function), tensors(*shapes))


# Cores ----------------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 5), sizes, sizes, st.integers(1, 20))
def test_cores_do_the_products_of_scaled_dot_product_attention(batch, heads, queries, keys, width):
    """By torch's own formula, and the same elementwise work in one kernel as in seven."""
    shapes = [(batch, heads, tokens, width) for tokens in (queries, keys, keys)]
    eager = record(lambda *qkv: attention.eager_attention(*qkv)[0], *shapes).total
    flash = record(attention.flash_attention, *shapes).total
    scores = batch * heads * queries * keys
    assert eager.counted_flops == flash.counted_flops == sdpa_flop_count(*shapes) == 2 * 2 * scores * width
    assert eager.cuda_flops == flash.cuda_flops == scores * (1 + 5)  # scale, softmax
    q, kv = 2 * batch * heads * queries * width, 2 * batch * heads * keys * width
    assert (flash.activation_read_bytes, flash.activation_write_bytes) == (q + 2 * kv, q)
    # scores (bf16) and their scaling, the cast to fp32, softmax in fp32, the cast back, and the product with the values
    read = q + kv + scores * (2 + 2 + 4 + 4 + 2) + kv
    written = scores * (2 + 2 + 4 + 4 + 2) + q
    assert (eager.activation_read_bytes, eager.activation_write_bytes) == (read, written)


def test_a_mask_is_read_and_added():
    qkv = [(2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8)]
    bare = record(lambda *args: attention.eager_attention(*args)[0], *qkv).total
    masked = record(lambda *args: attention.eager_attention(*args)[0], *qkv, (2, 1, 5, 7)).total
    scores, mask = 2 * 3 * 5 * 7, 2 * 5 * 7
    assert masked.cuda_flops - bare.cuda_flops == scores
    assert masked.activation_read_bytes - bare.activation_read_bytes == 2 * (scores + mask)
    assert masked.activation_write_bytes - bare.activation_write_bytes == 2 * scores


def test_a_kernel_masks_without_reading_a_mask():
    qkv = [(2, 3, 5, 8), (2, 3, 7, 8), (2, 3, 7, 8)]
    bare = record(attention.flash_attention, *qkv).total
    masks = record(lambda *args: attention.flash_attention(*args, masks_itself=True), *qkv).total
    assert masks.cuda_flops - bare.cuda_flops == 2 * 3 * 5 * 7
    assert masks.io_bytes == bare.io_bytes


@given(st.integers(1, 60), st.integers(0, 60))
def test_causal_products_are_the_ones_of_a_mask(queries, past):
    """Row i of a chunk after `past` tokens sees past + i + 1 keys."""
    keys = past + queries
    mask = np.tril(np.ones((queries, keys), dtype=np.int64), k=past)
    assert attention.causal_products(queries, keys, "triangle") == mask.sum()
    assert attention.causal_products(queries, keys, "full") is None


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 30), st.integers(0, 30), st.integers(1, 20))
def test_a_triangle_does_its_products_in_both_of_the_cores(batch, heads, queries, past, width):
    keys = past + queries
    shapes = [(batch, heads, tokens, width) for tokens in (queries, keys, keys)]
    needed = attention.causal_products(queries, keys, "triangle")
    for core in (lambda *a, **k: attention.eager_attention(*a, **k)[0], attention.flash_attention):
        cost = record(lambda *qkv, core=core: core(*qkv, products=needed), *shapes).total
        assert cost.tensor_flops == 2 * 2 * batch * heads * width * needed
        assert cost.counted_flops == sdpa_flop_count(*shapes)


# Copies ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 5), (2, 1), (2, 5)])
def test_merging_heads_copies_as_torch_does(batch, tokens):
    """[b h s d] in the memory order of a product's output -> [b s h*d]: torch copies unless there is one token."""
    x = torch.empty(batch, 3, tokens, 4)
    merged = x.transpose(1, 2).reshape(batch, tokens, 12)
    copied = merged.data_ptr() != x.data_ptr()
    names = [op.name for _, op in record(attention.merge_heads, (batch, 3, tokens, 4)).operators()]
    assert names == (["clone"] if copied else [])


@pytest.mark.parametrize(("batch", "tokens"), [(1, 1), (1, 5), (2, 1), (2, 5)])
def test_queries_are_copied_for_a_batched_product_as_torch_does(batch, tokens):
    """q is [b h s d] laid out as [b s h d]; its b and h become one axis of a bmm. So may k and v be."""
    q = torch.empty(batch, tokens, 3, 4).transpose(1, 2)
    flat = q.reshape(batch * 3, tokens, 4)
    copies: list[Any] = []
    for alike in (False, True):
        record(lambda x: copies.append(attention.query_copies(x, alike=alike)) or x, (batch, 3, tokens, 4))  # noqa: B023
    copied = int(flat.data_ptr() != q.data_ptr())
    assert copies == [(copied, 0, 0), (copied, copied, copied)]


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_repeating_keys_copies_them_to_every_query_head(groups):
    cost = record(lambda x: attention.repeat_kv(x, groups), (2, 3, 7, 8)).total
    held = 2 * 2 * 3 * 7 * 8
    assert cost.activation_write_bytes == (0 if groups == 1 else groups * held)
    assert cost.activation_read_bytes == (0 if groups == 1 else held)
    assert cost.flops == 0


# Rotary embedding -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 5), sizes, st.integers(1, 20))
def test_turning_a_tensor(batch, heads, tokens, half):
    """x * cos + rotate_half(x) * sin: two products, a sum, and half of it negated."""
    width = 2 * half
    table = (1, tokens, width)
    trace = record(attention.apply_rotary, (batch, heads, tokens, width), table, table)
    elements = batch * heads * tokens * width
    assert trace.total.cuda_flops == elements // 2 + elements + elements + elements
    assert trace.total.tensor_flops == 0
    assert sorted(op.name for _, op in trace.operators()) == ["add", "cat", "mul", "mul", "neg"]
    once, tables = 2 * elements, 2 * tokens * width
    # neg: half in, half out; cat: both halves in, all out; each product: x and a table in, x out; sum: two in, one out
    assert trace.total.activation_read_bytes == once // 2 + once + 2 * (once + tables) + 2 * once
    assert trace.total.activation_write_bytes == once // 2 + once + 2 * once + once


@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 64))
def test_the_table_as_a_batched_product(positions, queries, half):
    """[half 1] by [1 q] for each row of position ids, in fp32: on CUDA cores, and seen by a counter."""
    layer = LlamaRotaryEmbedding(2 * half)
    cost = trace_call(layer, tensors((positions, queries), dtype=INT64)).total
    product, table = 2 * half * 1 * queries * positions, 2 * half * queries * positions
    assert (cost.counted_flops, cost.tensor_flops) == (product, 0)
    assert cost.cuda_flops == product + 4 * table  # cos, sin, and each scaled
    assert cost.weight_read_bytes == 4 * half * positions  # inv_freq, expanded to every row


@given(st.integers(1, 4), st.integers(1, 300), st.integers(1, 64))
def test_the_table_elementwise(positions, queries, half):
    layer = RotaryEmbedding(2 * half)
    cost = trace_call(layer, tensors((positions, queries), dtype=INT64)).total
    table = 2 * half * queries * positions
    assert cost.counted_flops == cost.tensor_flops == 0
    assert cost.cuda_flops == half * queries * positions + 4 * table
    assert cost.weight_read_bytes == 4 * half


def test_tables_of_a_model_come_out_in_bf16():
    found: list[Tensor] = []

    def keep(ids: Tensor) -> Tensor:
        found.extend(LlamaRotaryEmbedding(128)(ids))
        return ids

    trace_call(Calls(keep), tensors((1, 7), dtype=INT64))
    assert [(x.shape, x.dtype) for x in found] == [((1, 7, 128), BF16)] * 2
