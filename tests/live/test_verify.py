"""`verify` as a library: points, rows, what is compared with what."""

from itertools import pairwise

import attrs
import pytest
import torch

from modelmeter import DeepseekOCRConfig, Layer, ModelMeterError, ViewPlan
from modelmeter.core.op import Op
from modelmeter.live.reference.transformers5 import UnlimitedOcr
from modelmeter.live.verification.compare import Check, OperatorCheck
from modelmeter.live.verification.verify import Point, decode_steps, verify
from modelmeter.models.deepseek_ocr import deepseek_v2, llama, masks, network, projector, sam
from modelmeter.models.deepseek_ocr import head as head_of
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.nn import moe, norm, token

GUNDAM = ViewPlan.from_grid((2, 3))
KV_BYTES_PER_TOKEN = 2 * 12 * 10 * 128 * 2


@pytest.fixture(scope="module", params=["eager", "flash"])
def released(request):
    return UnlimitedOcr(DeepseekOCRConfig(), request.param)


@pytest.fixture(scope="module")
def verification(released):
    return verify(
        released,
        [
            Point(stage="vision", views=GUNDAM),
            Point(stage="prefill", context_len=903),
            Point(stage="page", context_len=913, views=GUNDAM),
            *decode_steps(3, context_len=1000),
        ],
    )


def test_the_released_model_verifies(verification):
    assert verification.ok
    assert all(comparison.ok and not comparison.unpriced for comparison in verification.comparisons)


def test_what_is_exact_is_equal(verification):
    for comparison in verification.comparisons:
        for row in comparison.rows:
            for check in row.checks:
                if check.quantity not in ("activation_bytes", "peak_bytes"):
                    assert (check.quantity, check.difference) == (check.quantity, 0)


def test_the_cache_grows_by_a_token_a_step(verification):
    held = [
        comparison.total.check("kv_cache_bytes").measured
        for comparison in verification.comparisons
        if comparison.point.stage == "decode"
    ]
    assert held == [(1000 + step + 1) * KV_BYTES_PER_TOKEN for step in range(3)]


def test_parameters_are_those_of_the_checkpoint(verification):
    total = verification.comparisons[0].total
    assert total.check("parameters").measured == 3_335_504_128
    assert total.check("parameter_bytes").analytic == 2 * 3_335_504_128


def test_a_batch_and_a_backward(released):
    points = [Point(stage="prefill", context_len=40, batch=2, backward=True)]
    vision = Point(stage="vision", views=ViewPlan.from_grid((1, 2)), batch=2, backward=True)
    if released.attention == "flash":
        with pytest.raises(ModelMeterError, match="with attention eager"):
            verify(released, [vision])
    else:
        points.append(vision)
    found = verify(released, points)
    assert found.ok
    for comparison in found.comparisons:
        forward, backward = (comparison.total.check(name).measured for name in ("counted_flops", "backward_flops"))
        assert forward < backward <= 3 * forward  # two products a product, but for the first, whose input is a picture


# Coverage -------------------------------------------------------------------------------------------------------------

INLINE = {
    # What the real forward does inline or in a function: no module to set beside, its operators are in the row around.
    network.ImageTokens: "newlines and separator, in get_image_features",
    network.ImageTokenSplice: "masked_scatter, in the model's forward",
    masks.UnlimitedOcrMasks: "create_causal_mask, a function",
    network.VisionTower: "the towers and the projector of one size of views; its parts have rows",
    network.VisionStage: "the whole of the stage vision",
    network.DeepseekOCRForCausalLM: "the whole of the other stages",
    head_of.Head: "what the model's own forward does around lm_head",
    projector.MlpProjector: "there its one Linear alone, which has a row; the vendor's has its own (tests/vendor)",
}
ELSEWHERE = {
    # Met by other points than these.
    network.CausalMask: "the vendor's (tests/vendor)",
    llama.LlamaRotaryEmbedding: "the vendor's (tests/vendor)",
    sam._GridLayer: "abstract",
    token.TokenLayer: "abstract",
    token.CachedLayer: "abstract",
    norm.RMSNorm: "DeepseekV2RMSNorm by its released name",
    moe.ExpertLinear: "stacked parameters of one module there; the vendor's are modules (tests/vendor)",
}


def twins(kind: type[Layer] = Layer) -> set[type[Layer]]:
    found = set()
    for child in kind.__subclasses__():
        if child.__module__.startswith("modelmeter."):
            found |= {child, *twins(child)}
    return found


def test_every_twin_class_has_a_row():
    """A new class has to be met by these points, or to say here why it cannot be."""
    met: set[str] = set()
    for attention in ("eager", "flash"):
        adapter = UnlimitedOcr(DeepseekOCRConfig(), attention)
        points = [Point(stage="page", context_len=913, views=GUNDAM), Point(stage="vision", views=GUNDAM)]
        met |= {row.layer for comparison in verify(adapter, points).comparisons for row in comparison.layers}
    concrete = {kind for kind in twins() if kind.__module__.startswith(("modelmeter.models", "modelmeter.nn"))}
    known = {kind.__name__ for kind in (*INLINE, *ELSEWHERE)}
    assert {kind.__name__ for kind in concrete} - met - known == set()
    assert known & met == set()  # nothing excused that has a row


def test_every_product_has_a_backward():
    """Each kind of operator that is counted forward is counted backward, on both sides."""
    adapter = UnlimitedOcr(DeepseekOCRConfig())
    points = [
        Point(stage="vision", views=ViewPlan.from_grid((1, 2)), backward=True),
        Point(stage="prefill", context_len=20, backward=True),
    ]
    for comparison in verify(adapter, points).comparisons:
        for operator in comparison.total.operators:
            kind = "mm" if operator.name == "addmm" else operator.name
            (backward,) = [x for x in comparison.total.operators if x.name == kind]
            if operator.measured_flops:
                assert backward.measured_backward_flops == backward.analytic_backward_flops > 0


@pytest.mark.parametrize("experts", ["batched_mm", "grouped_mm"])
def test_other_ways_to_run_the_experts(experts):
    adapter = UnlimitedOcr(DeepseekOCRConfig(), experts=experts)
    points = [Point(stage="prefill", context_len=100, batch=2), *decode_steps(2, context_len=100, batch=2)]
    found = verify(adapter, points)
    assert found.ok
    skipped = {"weight_read_bytes", "activation_bytes", "peak_bytes"} if experts == "batched_mm" else set()
    for row in found.comparisons[0].rows:
        around = row.path in ("", "model", "model.layers.1", "model.layers.1.mlp") or ".experts" in row.path
        compared = {check.quantity for check in row.checks}
        assert (
            skipped.isdisjoint(compared)
            if around
            else skipped <= compared or row.path in ("model.layers.0", "model.layers.0.mlp")
        )


@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_unlimited_ocr_as_itself(attention):
    """Its reference window keeps the prefill and the last tokens: FLOPs stop growing when the window is full."""
    adapter = UnlimitedOcr(DeepseekOCRConfig(), attention, reference_window=4)
    found = verify(adapter, [Point(stage="prefill", context_len=60), *decode_steps(7, context_len=60)])
    assert found.ok
    flops = [comparison.total.check("counted_flops").measured for comparison in found.comparisons[1:]]
    a_key = 12 * 2 * 2 * 1280  # scores and values, in every layer
    assert [after - before for before, after in pairwise(flops)] == [a_key] * 3 + [0] * 3
    held = [comparison.total.check("kv_cache_bytes").measured for comparison in found.comparisons]
    kept = [60, 61, 62, 63, 63, 63, 63, 63]  # the prefill, and at most three of those before the next token
    assert held == [tokens * KV_BYTES_PER_TOKEN for tokens in kept]


# Rows -----------------------------------------------------------------------------------------------------------------


def test_a_check_outside_its_bound_fails():
    assert Check("activation_bytes", 100, 102, 0.02).ok
    assert not Check("activation_bytes", 100, 103, 0.02).ok
    assert not Check("counted_flops", 10**15, 10**15 + 1).ok
    assert not Check("activation_bytes", 0, 1, 0.5).ok
    assert Check("activation_bytes", 0, 0, 0.0).ok


def test_operators_on_one_side_only_are_named(verification):
    prefill = verification.comparisons[1].total
    assert set(prefill.only_measured) <= {"aminmax", "eq", "gt", "sub", "_is_all_true"}  # routing on the CPU
    assert prefill.only_analytic == ()
    assert not OperatorCheck("mm", 1, 1, 10, 12, 0, 0).ok


def test_twin_operators_hold_numbers_only():
    """A trace keeps no tensor alive."""
    assert not any("tensor" in name for name in Op.__slots__)


# One layer ------------------------------------------------------------------------------------------------------------


def test_one_layer_by_its_implementation():
    config = DeepseekOCRConfig()
    adapter = UnlimitedOcr(config)
    conventions = Conventions(implementation="transformers", coverage="max")
    layers = adapter.model.model.language_model.layers
    x = torch.empty(2, 33, 1280, dtype=torch.bfloat16, device="meta")
    dense = deepseek_v2.DeepseekV2MLP(1280, 6848).verify_by_impl(layers[0].mlp, x)
    assert dense.ok and dense.total.check("counted_flops").measured == 3 * 2 * 66 * 1280 * 6848
    with adapter.running():
        assert deepseek_v2.DeepseekV2MoE(config.decoder, conventions).verify_by_impl(layers[1].mlp, x).ok
    wrong = deepseek_v2.DeepseekV2MLP(1280, 6847).verify_by_impl(layers[0].mlp, x)
    assert not wrong.ok and wrong.total.check("parameters").difference == -3 * 1280


def test_one_layer_with_a_cache():
    from transformers import DynamicCache

    config = DeepseekOCRConfig()
    adapter = UnlimitedOcr(config)
    conventions = attrs.evolve(adapter.conventions)

    def empty(*shape):
        return torch.empty(*shape, dtype=torch.bfloat16, device="meta")

    cache = DynamicCache()
    cache.update(empty(2, 10, 50, 128), empty(2, 10, 50, 128), 0)
    found = deepseek_v2.DeepseekV2DecoderLayer(config.decoder, 0, conventions).verify_by_impl(
        adapter.model.model.language_model.layers[0],
        empty(2, 7, 1280),
        position_embeddings=(empty(1, 7, 128), empty(1, 7, 128)),
        attention_mask=empty(2, 1, 7, 57),
        past_key_values=cache,
    )
    assert found.ok
    assert found.total.check("kv_cache_bytes").measured == 7 * 2 * 2 * 10 * 128 * 2


def test_one_layer_on_what_it_cannot_take():
    adapter = UnlimitedOcr(DeepseekOCRConfig())
    x = torch.empty(2, 33, 1280, dtype=torch.bfloat16, device="meta")
    block = sam.Block(DeepseekOCRConfig().sam, 14)
    with pytest.raises(ModelMeterError, match=r"twin_inputs"):
        block.verify_by_impl(adapter.model.model.language_model.layers[0].mlp, x)
    with pytest.raises(ModelMeterError, match=r"torch\.nn\.Module"):
        block.verify_by_impl(lambda x: x, x)
