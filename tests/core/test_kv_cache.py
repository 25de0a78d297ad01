"""SyntheticKVCache: lengths, bytes, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import DeepseekOCRConfig, ModelMeterError, SyntheticKVCache, estimate_kv_cache_size_gb

positive = st.integers(1, 500)


@given(
    positive, positive, positive, positive, st.integers(0, 10_000), st.integers(0, 10_000), st.sampled_from([1, 2, 4])
)
def test_bytes_are_keys_and_values_of_what_is_cached(batch, heads, width, layers, context, decoded, size):
    cache = SyntheticKVCache(batch, heads, width, layers, context, decoded, size)
    held = 2 * layers * heads * width * size * batch * (context + decoded)
    assert cache.total_len() == context + decoded
    assert cache.size_bytes() == held
    assert cache.size_gb() == held / 2**30
    assert estimate_kv_cache_size_gb(batch, context, layers, heads, width, size) == pytest.approx(
        2 * layers * heads * width * size * batch * context / 2**30, rel=1e-15
    )


def test_defaults_are_one_empty_layer_of_bf16():
    cache = SyntheticKVCache(1, 10, 128)
    assert (cache.num_layers, cache.context_len, cache.decode_len, cache.bytes_per_value) == (1, 0, 0, 2)
    assert cache.size_bytes() == 0


def test_one_length_is_shared_by_all_layers():
    """Updating another layer than 0 in the same step changes nothing."""
    cache = SyntheticKVCache(1, 10, 128, num_layers=12, context_len=100)
    for layer in range(12):
        assert cache.get_usable_length(layer) == (100 if layer == 0 else 101)
        cache.update(layer)
    assert (cache.context_len, cache.decode_len) == (100, 1)
    cache.update(num_new_tokens=5)
    assert cache.get_usable_length() == 106


@pytest.mark.parametrize("layer", [-1, 12, 100])
def test_a_layer_that_is_not_there(layer):
    cache = SyntheticKVCache(1, 10, 128, num_layers=12, context_len=7)
    for call in (lambda: cache.update(layer), lambda: cache.get_usable_length(layer)):
        with pytest.raises(ModelMeterError, match=f"layer_idx {layer} is not one of the cache's 12 layers"):
            call()
    assert cache.total_len() == 7


@pytest.mark.parametrize("tokens", [0, -1, 1.5, None, True])
def test_tokens_written_are_positive(tokens):
    cache = SyntheticKVCache(1, 10, 128)
    with pytest.raises(ModelMeterError, match="num_new_tokens must be"):
        cache.update(num_new_tokens=tokens)
    assert cache.total_len() == 0


@pytest.mark.parametrize("name", ["batch", "num_kv_heads", "head_dim", "num_layers", "bytes_per_value"])
def test_sizes_are_positive(name):
    sizes = {"batch": 1, "num_kv_heads": 10, "head_dim": 128}
    with pytest.raises(ModelMeterError, match=f"^{name} must be positive, not 0$"):
        SyntheticKVCache(**sizes | {name: 0})


@pytest.mark.parametrize("name", ["context_len", "decode_len"])
def test_lengths_may_be_zero_but_not_negative(name):
    assert SyntheticKVCache(1, 10, 128, **{name: 0}).total_len() == 0
    with pytest.raises(ModelMeterError, match=f"^{name} must be at least 0, not -1$"):
        SyntheticKVCache(1, 10, 128, **{name: -1})


def test_from_config_is_the_released_cache():
    cache = SyntheticKVCache.from_config(DeepseekOCRConfig().decoder, batch=3)
    assert (cache.batch, cache.num_kv_heads, cache.head_dim, cache.num_layers) == (3, 10, 128, 12)
    assert cache.bytes_per_token() == 61_440 * 3
    assert "batch=3" in repr(cache) and "num_layers=12" in repr(cache)


def test_a_sweep_of_lengths_and_batches():
    cache = SyntheticKVCache(np.array([1, 2]), 10, 128, 12, np.array([100, 913]))
    assert cache.size_bytes().tolist() == [61_440 * 100, 61_440 * 2 * 913]
    cache.update()
    assert cache.total_len().tolist() == [101, 914]


def test_one_step_does_not_change_another_sweeps_array():
    """`update` makes a new length; the array that was handed in stays the caller's."""
    lengths = np.array([1, 2])
    cache = SyntheticKVCache(1, 10, 128, decode_len=lengths)
    cache.update()
    assert lengths.tolist() == [1, 2] and cache.decode_len.tolist() == [2, 3]
