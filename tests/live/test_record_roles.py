"""Whose memory it is: weights and buffers, the KV cache, activations."""

import pytest
import torch
from support.recorded import TEXT, llama, quiet
from torch import nn
from transformers import (
    DynamicCache,
    EncoderDecoderCache,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    StaticCache,
    T5Config,
    T5ForConditionalGeneration,
)

from modelmeter.core.recorder import CACHED, DROPPED
from modelmeter.live import record

BATCH, LAYERS, KV_HEADS, WIDTH, TOKENS = 2, 2, 2, 4, 6
PER_TOKEN = 4 * BATCH * KV_HEADS * WIDTH  # bytes of one layer's keys of a token, fp32


@pytest.fixture(scope="module", params=["meta", "cpu"])
def model(request):
    with quiet(), torch.device(request.param):
        return llama().eval()


def ids(model, tokens=TOKENS):
    return torch.ones(BATCH, tokens, dtype=torch.long, device=model.device)


def ran(model, *args, **kwargs):
    with quiet():
        return record(model, *args, **kwargs)


def events(trace, kind):
    return sum(size for _, segment in trace.segments() for event, size in segment.events if event == kind)


def filled(model, tokens):
    cache = DynamicCache()
    with torch.no_grad(), quiet():
        model(ids(model, tokens), past_key_values=cache)
    return cache


@pytest.mark.parametrize("given", [True, False])
def test_prefill_writes_the_cache(model, given):
    """An empty cache among the arguments, and one that the model makes."""
    cache = DynamicCache() if given else None
    trace = ran(model, ids(model), past_key_values=cache, use_cache=True)
    size = LAYERS * 2 * TOKENS * PER_TOKEN
    assert trace.total.kv_write_bytes == size
    assert trace.total.kv_read_bytes >= size
    assert (events(trace, CACHED), events(trace, DROPPED)) == (size, 0)
    assert trace.peak_with_cache_bytes > trace.peak_bytes


def test_decode_copies_a_dynamic_cache(model):
    cache, past = filled(model, TOKENS), LAYERS * 2 * TOKENS * PER_TOKEN
    new = LAYERS * 2 * PER_TOKEN
    trace = ran(model, ids(model, 1), past_key_values=cache, use_cache=True)
    assert trace.total.kv_write_bytes == past + new
    assert trace.total.kv_read_bytes == past + (past + new)  # by the concatenation, then by attention
    assert events(trace, CACHED) == past + new
    assert events(trace, DROPPED) == past
    again = ran(model, ids(model, 1), past_key_values=cache, use_cache=True)
    assert again.total.kv_write_bytes == past + 2 * new


@pytest.mark.parametrize("filled_before", [False, True])
def test_a_static_cache_is_written_in_place(model, filled_before):
    cache = StaticCache(config=model.config, max_cache_len=10)
    if filled_before:
        with torch.no_grad(), quiet():
            model(ids(model, 2), past_key_values=cache)
    trace = ran(model, ids(model, 1), past_key_values=cache, use_cache=True)
    whole, new = LAYERS * 2 * 10 * PER_TOKEN, LAYERS * 2 * PER_TOKEN
    assert trace.total.kv_write_bytes == new + (0 if filled_before else whole)  # made here it is filled with zeros
    assert trace.total.kv_read_bytes == whole
    assert events(trace, CACHED) == (0 if filled_before else whole)
    assert events(trace, DROPPED) == 0


def test_a_sliding_window_cache():
    window = 4
    config = Gemma3TextConfig(
        **TEXT, num_key_value_heads=2, head_dim=WIDTH, sliding_window=window, layer_types=["sliding_attention"] * LAYERS
    )
    with quiet():
        model = Gemma3ForCausalLM(config).eval()
        model.set_attn_implementation("eager")
        cache = DynamicCache(config=config)
        trace = record(model, ids(model), past_key_values=cache, use_cache=True)
        assert trace.total.kv_write_bytes == LAYERS * 2 * TOKENS * PER_TOKEN
        # What it keeps is a view of the window's last tokens but one: the memory of all of them stays.
        assert events(trace, CACHED) - events(trace, DROPPED) == LAYERS * 2 * TOKENS * PER_TOKEN
        trace = record(model, ids(model, 1), past_key_values=cache, use_cache=True)
        assert trace.total.kv_write_bytes == LAYERS * 2 * window * PER_TOKEN
        assert events(trace, DROPPED) == LAYERS * 2 * TOKENS * PER_TOKEN


def test_an_encoder_decoder_cache():
    with quiet():
        config = T5Config(
            vocab_size=50, d_model=16, d_kv=4, d_ff=32, num_layers=2, num_heads=4, decoder_start_token_id=0
        )
        model = T5ForConditionalGeneration(config).eval()
        cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
        tokens, one = torch.ones(2, 6, dtype=torch.long), torch.ones(2, 1, dtype=torch.long)
        trace = record(model, tokens, decoder_input_ids=one, past_key_values=cache)
        per_token = 4 * 2 * 4 * 4  # fp32 [batch 2, heads 4, width 4]
        assert trace.total.kv_write_bytes == 2 * 2 * (6 + 1) * per_token  # layers, keys and values; cross and self
        encoded = model.get_encoder()(tokens)
        trace = record(model, encoder_outputs=encoded, decoder_input_ids=one, past_key_values=cache)
        assert trace.total.kv_write_bytes == 2 * 2 * 2 * per_token  # the cross-attention's stays
        # Attention reads the 6 encoded and 2 own tokens, the concatenation 1.
        assert trace.total.kv_read_bytes == 2 * 2 * (6 + 2 + 1) * per_token


def test_positions_that_a_cache_makes_are_no_cache(model):
    trace = ran(model, ids(model, 1), past_key_values=StaticCache(config=model.config, max_cache_len=10))
    sizes = {segment_size for _, s in trace.segments() for event, segment_size in s.events if event == CACHED}
    assert sizes == {10 * PER_TOKEN}


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("seen", torch.zeros(4))
        self.register_buffer("table", torch.ones(4), persistent=False)

    def forward(self, x):
        self.seen.add_(x.sum(0))
        return x * self.weight + self.table


def test_parameters_and_buffers_are_weights():
    trace = record(Counter(), torch.randn(3, 4))
    x, row = 4 * 3 * 4, 4 * 4
    assert trace.total.weight_read_bytes == 3 * row  # seen, weight, table
    assert trace.total.activation_read_bytes == x + row + x + x  # sum, add_, mul, add
    assert trace.total.activation_write_bytes == row + row + x + x  # a buffer written leaves the chip
    assert trace.peak_bytes == 3 * x  # the input, the product, the sum: a buffer is there anyway


def test_a_view_of_a_weight_is_weight_and_a_copy_is_not():
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4, 4))

        def forward(self, x):
            return x @ self.weight[:2].t() + x @ self.weight[:2].clone().t()

    trace = record(Views(), torch.randn(3, 4))
    assert trace.total.weight_read_bytes == 2 * (4 * 2 * 4)  # by the product, by the copy


def test_the_engine_follows_from_the_dtype():
    half = record(nn.Linear(4, 5, dtype=torch.bfloat16), torch.zeros(3, 4, dtype=torch.bfloat16)).total
    single = record(nn.Linear(4, 5), torch.zeros(3, 4)).total
    flops = 2 * 3 * 4 * 5
    assert (half.tensor_flops, half.cuda_flops) == (flops, 0)
    assert (single.tensor_flops, single.cuda_flops) == (0, flops)
