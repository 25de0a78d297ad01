"""Weights and KV cache: the released checkpoint's numbers, part by part, and the real model's and cache's own."""

import attrs
import pytest
from support.names import to_ours
from support.reference import cache_bytes, filled_cache, parameters, token_ids

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel, SyntheticKVCache, estimate_kv_cache_size_gb, plan_views

# FACTS section 1; each as arithmetic over the released sizes.
HEAD_OR_TABLE = 129280 * 1280
NORM = 1280
SAM = 95_569_152
CLIP = 303_177_728  # with the patch convolution that nothing calls
PROJECTOR = 2048 * 1280 + 1280
ATTENTION = 4 * 1280 * 1280
DENSE_LAYER = ATTENTION + 3 * 1280 * 6848 + 2 * NORM
MOE_LAYER = ATTENTION + 64 * 1280 + 64 * 3 * 1280 * 896 + 3 * 1280 * (2 * 896) + 2 * NORM
UNUSED = 1024 * 3 * 14 * 14
PARTS = {
    "model.sam_model": SAM,
    "model.vision_model": CLIP,
    "model.projector": PROJECTOR,
    "model.image_newline": 1280,
    "model.view_seperator": 1280,
    "model.embed_tokens": HEAD_OR_TABLE,
    "model.layers.0": DENSE_LAYER,
    **{f"model.layers.{i}": MOE_LAYER for i in range(1, 12)},
    "model.norm": NORM,
    "lm_head": HEAD_OR_TABLE,
}
VENDOR_TOTAL = 3_336_106_240
TRANSFORMERS_TOTAL = 3_335_504_128


def by_part(model):
    """Our weights summed by part, under the paths of `named_parameters`."""
    sums = dict.fromkeys(PARTS, 0)
    for path, parameter in model.network.named_parameters():
        (part,) = [part for part in PARTS if f"{path}.".startswith(f"{part}.")]
        sums[part] += parameter.numel
    return sums


def test_the_facts_agree_with_each_other():
    assert (PROJECTOR, DENSE_LAYER, MOE_LAYER, UNUSED) == (2_622_720, 32_852_480, 233_720_320, 602_112)
    assert sum(PARTS.values()) == VENDOR_TOTAL == TRANSFORMERS_TOTAL + UNUSED


def test_vendor_parameters_by_part(make_model):
    model = make_model(implementation="vendor")
    assert by_part(model) == PARTS
    assert model.parameter_count() == VENDOR_TOTAL
    assert model.parameter_bytes() == 2 * VENDOR_TOTAL == 6_672_212_480  # bf16: the released checkpoint, to the byte


def test_transformers_parameters_by_part(make_model):
    model = make_model()
    assert by_part(model) == PARTS | {"model.vision_model": CLIP - UNUSED}
    assert model.parameter_count() == TRANSFORMERS_TOTAL
    assert model.parameter_bytes() == 2 * TRANSFORMERS_TOTAL


def test_every_real_parameter_is_ours(real, make_model):
    """Module by module: each real module's own weights are those of its twin, in number and in bytes."""
    ours: dict[str, list[int]] = {}
    for path, parameter in make_model().network.named_parameters():
        owner = path.rpartition(".")[0]
        ours.setdefault(owner, []).append(parameter.numel)
    theirs: dict[str, list[int]] = {}
    for path, parameter in real.real.named_parameters():
        (owner,) = to_ours(path.rpartition(".")[0])
        theirs.setdefault(owner, []).append(parameter.numel())
    # Stacked parameters of one module there, one layer each here.
    for owner in [path for path in ours if ".mlp.experts." in path]:
        ours.setdefault(owner.rpartition(".")[0], []).extend(ours.pop(owner))
    assert {path: sorted(sizes) for path, sizes in ours.items()} == {
        path: sorted(sizes) for path, sizes in theirs.items()
    }


def test_total_of_the_real_model(real, make_model):
    assert parameters(real.real) == TRANSFORMERS_TOTAL == make_model().parameter_count()
    real_bytes = sum(parameter.numel() * parameter.element_size() for parameter in real.real.parameters())
    assert real_bytes == make_model().parameter_bytes()


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_weights_of_the_parts_sum_to_the_total(make_model, implementation):
    model = make_model(implementation=implementation)
    model.start_prefill(100)
    parts = {name: cost.weights_bytes for name, cost in model.part_costs().items()}
    clip = CLIP if implementation == "vendor" else CLIP - UNUSED
    layers = DENSE_LAYER + 11 * MOE_LAYER
    assert parts == {
        "sam": 2 * SAM,
        "clip": 2 * clip,
        "projector": 2 * (PROJECTOR + 2 * 1280),  # with the newline and the separator
        "embedding": 2 * HEAD_OR_TABLE,
        "decoder": 2 * (layers + NORM),
        "lm_head": 2 * HEAD_OR_TABLE,
    }
    assert sum(parts.values()) == model.parameter_bytes()


def test_weights_are_the_same_in_every_stage(make_model):
    model = make_model(implementation="vendor")
    model.set_views(plan_views(1654, 2339))
    weights = []
    model.start_vision()
    weights.append(model.get_forward_cost().weights_bytes)
    model.start_prefill(913)
    weights.append(model.get_forward_cost().weights_bytes)
    model.start_decode()
    weights.append(model.get_forward_cost().weights_bytes)
    model.decode_one_token()
    weights.append(model.get_forward_cost().weights_bytes)
    assert weights == [2 * VENDOR_TOTAL] * 4


def test_a_tied_head_counts_once(make_model):
    config = DeepseekOCRConfig()
    tied = attrs.evolve(config, decoder=attrs.evolve(config.decoder, tie_word_embeddings=True))
    assert DeepseekOCRModel.from_config(tied).parameter_count() == VENDOR_TOTAL - HEAD_OR_TABLE


def test_a_decoded_token_uses_about_574_million_weights(make_model):
    """FACTS section 1: six of 64 experts in 11 layers, and all of the rest but the other rows of the table."""
    used = DENSE_LAYER + 11 * (MOE_LAYER - (64 - 6) * 3 * 1280 * 896) + NORM + HEAD_OR_TABLE
    assert round(used / 1e6) == 574
    model = make_model(coverage="min")
    model.start_prefill(1)
    model.start_decode()
    row = 2 * 1280  # the token's own row of the table
    rotary_frequencies = 4 * 64  # an fp32 buffer, no parameter, read all the same
    assert model.cost().weight_read_bytes == 2 * used + row + rotary_frequencies


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("length", [1, 2, 283, 913, 8192])
def test_kv_bytes_of_a_real_cache(real, make_model, length, batch):
    cache = filled_cache(real.real, batch, [length])
    model = make_model()
    ours = model.start_prefill(length, batch)
    expected = 2 * 12 * 10 * 128 * 2 * batch * length  # keys and values, layers, heads, head size, bf16
    assert cache_bytes(cache) == expected == ours.size_bytes() == model.kv_cache_bytes()
    assert model.get_forward_cost().kv_cache_bytes == expected
    model.start_decode()
    assert model.get_forward_cost().kv_cache_bytes == expected  # the next token's keys are not there yet


def test_kv_bytes_grow_with_a_real_cache(real, make_model):
    """Prefill, a second chunk, three tokens."""
    cache = filled_cache(real.real, 2, [100])
    model = make_model()
    ours = model.start_prefill(100, 2)
    assert ours.size_bytes() == cache_bytes(cache)
    real.real(input_ids=token_ids(2, 28), past_key_values=cache, use_cache=True)
    model.extend_prefill(28)
    assert ours.size_bytes() == cache_bytes(cache)
    model.start_decode()
    for _ in range(3):
        real.real(input_ids=token_ids(2, 1), past_key_values=cache, use_cache=True)
        model.decode_one_token()
        assert model.kv_cache_bytes() == ours.size_bytes() == cache_bytes(cache)
    assert ours.total_len() == cache.get_seq_length() == 131


def test_61_440_bytes_a_token():
    cache = SyntheticKVCache.from_config(DeepseekOCRConfig().decoder)
    assert cache.bytes_per_token() == 2 * 12 * 10 * 128 * 2 == 61_440
    assert estimate_kv_cache_size_gb(1, 8192, 12, 10, 128) == 61_440 * 8192 / 2**30
