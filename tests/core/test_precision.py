"""What a `Precision` says, what it refuses, and what its formats take in bytes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelmeter import DeepseekOCRConfig, ModelMeterError, Precision, SyntheticKVCache, estimate_kv_cache_size_gb
from modelmeter.core.parameter import Parameter
from modelmeter.core.precision import BF16_CACHE
from modelmeter.core.tensor import BF16, FP8, FP16, INT8


def stored(precision: Precision, *shape: int) -> int:
    """Bytes of a weight in a quantised part."""
    weight = Parameter(*shape)
    weight.scheme = precision.scheme
    return weight.nbytes


# 1280 input features, 896 output channels
@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ("bf16", 2 * 1280 * 896),
        ("fp16", 2 * 1280 * 896),
        ("fp8", 1280 * 896 + 896 * 4),  # an fp32 scale an output channel
        ("int8", 1280 * 896 + 896 * 4),
        # two values a byte; 1280 / 128 = 10 groups a channel, each an fp16 scale and a 4-bit zero point
        ("int4", 1280 * 896 // 2 + 896 * 10 * 2 + 896 * 10 // 2),
    ],
)
def test_bytes_of_one_weight(weights, expected):
    assert stored(Precision(weights=weights), 896, 1280) == expected
    assert stored(Precision(weights=weights), 64, 896, 1280) == 64 * expected  # experts, each stored by itself


def test_int4_is_what_awq_allocates():
    """The three tensors of vLLM's AWQ linear layer (model_executor/layers/quantization/awq.py): 8 values an int32."""
    features, channels = 1280, 1792
    qweight = np.empty((features, channels // 8), np.int32)
    qzeros = np.empty((features // 128, channels // 8), np.int32)
    scales = np.empty((features // 128, channels), np.float16)
    assert stored(Precision(weights="int4"), channels, features) == qweight.nbytes + qzeros.nbytes + scales.nbytes


def test_a_last_group_that_is_not_full():
    groups = 54  # 6848 / 128 = 53.5
    expected = 6848 * 1280 // 2 + 1280 * groups * 2 + 1280 * groups // 2
    assert stored(Precision(weights="int4"), 1280, 6848) == expected


def test_half_a_byte_is_a_byte():
    """3 x 5 values of 4 bits take 8 bytes; 3 zero points take 2."""
    assert stored(Precision(weights="int4"), 3, 5) == 8 + 3 * 2 + 2


@given(st.integers(1, 300), st.integers(5, 3000), st.sampled_from([32, 64, 128, 256]))
def test_fewer_bits_take_fewer_bytes(channels, features, group):
    """From 5 input features on: below, int8's 4-byte scale outweighs what its values save."""
    int4, int8, bf16 = (
        stored(Precision(weights=kind, group_size=group), channels, features) for kind in ("int4", "int8", "bf16")
    )
    assert int4 < int8 < bf16


@given(st.integers(1, 300), st.integers(1, 3000), st.integers(1, 300))
def test_larger_groups_take_no_more_bytes(channels, features, group):
    small, large = (Precision(weights="int4", group_size=size) for size in (group, 2 * group))
    assert stored(large, channels, features) <= stored(small, channels, features)


# What is said ---------------------------------------------------------------------------------------------------------


def test_the_default_quantises_nothing():
    default = Precision()
    assert (default.float16, default.scheme, default.kv_format) == (BF16, None, BF16_CACHE)
    assert str(default) == "all weights bf16; KV cache bf16"


@pytest.mark.parametrize("named", [{"weights": "fp16"}, {"weights": "int4", "kv": "fp16"}])
def test_one_that_names_fp16_is_fp16_elsewhere(named):
    chosen = Precision(**named)
    assert (chosen.float16, chosen.kv_format.dtype) == (FP16, FP16)


@pytest.mark.parametrize(("kind", "dtype"), [("fp8", FP8), ("int8", INT8)])
def test_what_products_take(kind, dtype):
    assert Precision(weights=kind, activations=kind).scheme.activations is dtype
    for wide in (None, "bf16", "fp16"):  # weights alone
        assert Precision(weights=kind, activations=wide).scheme.activations is None


@pytest.mark.parametrize(
    ("chosen", "text"),
    [
        (
            Precision(weights="int4"),
            "decoder linear layers and experts int4 (groups of 128, fp16 scales, 4-bit zero points); "
            "vision, gate, embedding, head bf16; KV cache bf16",
        ),
        (
            Precision(weights="int8", activations="int8", kv="int8"),
            "decoder linear layers and experts int8 (an fp32 scale an output channel), activations int8 "
            "(an fp32 scale a token); vision, gate, embedding, head bf16; "
            "KV cache int8 (an fp16 scale a token and head)",
        ),
        (
            Precision(weights="fp8", activations="fp16", parts=("vision", "lm_head"), kv="fp8"),
            "head, vision linear layers fp8 (an fp32 scale an output channel); "
            "vision convolutions and tables, decoder, embedding fp16; KV cache fp8 (a static scale)",
        ),
        (Precision(weights="fp16", kv="fp8"), "all weights fp16; KV cache fp8 (a static scale)"),
    ],
)
def test_one_line_says_what_is_stored_how(chosen, text):
    assert str(chosen) == chosen.describe() == text


@pytest.mark.parametrize(
    ("given_", "reason"),
    [
        ({"weights": "fp4"}, "weights 'fp4' is unknown: choose bf16, fp16, fp8, int8, int4"),
        ({"activations": "int4"}, "activations 'int4' is unknown: choose bf16, fp16, fp8, int8, None"),
        ({"kv": "int4"}, "kv 'int4' is unknown"),
        ({"weights": []}, "weights .* is unknown"),
        ({"weights": "fp16", "kv": "bf16"}, "bf16 and fp16 do not mix.*name the same for weights"),
        ({"kv": "fp16"}, "bf16 and fp16 do not mix"),
        ({"weights": "int4", "activations": "fp16", "kv": "bf16"}, "bf16 and fp16 do not mix"),
        ({"activations": "int8"}, "activations int8 need weights int8, not bf16"),
        ({"weights": "int4", "activations": "int8"}, "activations int8 need weights int8, not int4"),
        ({"weights": "int8", "activations": "fp8"}, "activations fp8 need weights fp8, not int8"),
        ({"parts": ()}, "choose among decoder, lm_head, vision"),
        ({"parts": ("decoder", "gate")}, "choose among decoder, lm_head, vision"),
        ({"parts": None}, "choose among decoder, lm_head, vision"),
        ({"group_size": 0}, "group_size must be a positive int, not 0"),
        ({"group_size": True}, "group_size must be a positive int"),
        ({"group_size": 64.0}, "group_size must be a positive int"),
    ],
)
def test_what_it_refuses(given_, reason):
    with pytest.raises(ModelMeterError, match=f"precision: .*{reason}"):
        Precision(**given_)


def test_parts_are_given_as_names():
    assert Precision(parts="vision").parts == ("vision",)
    assert Precision(parts=["lm_head", "decoder", "lm_head"]).parts == ("lm_head", "decoder")


# The cache ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kv", "row"),
    [(None, 2 * 128), ("bf16", 2 * 128), ("fp8", 128), ("int8", 128 + 2)],  # int8: and an fp16 scale
)
def test_bytes_of_a_cached_token(kv, row):
    """Keys and values of 12 layers and 10 heads, 3 sequences of 7 tokens."""
    cache = SyntheticKVCache.from_config(DeepseekOCRConfig(), 3, Precision(kv=kv))
    cache.update(num_new_tokens=7)
    assert cache.size_bytes() == 3 * 7 * 2 * 12 * 10 * row
    estimate = estimate_kv_cache_size_gb(3, 7, 12, 10, 128, cache.bytes_per_value, cache.scale_bytes)
    assert estimate == cache.size_gb() == cache.size_bytes() / 2**30
