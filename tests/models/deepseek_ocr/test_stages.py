"""What each stage of a model consists of, and how stages follow each other."""

import pytest
from support.staged import (
    A4,
    DECODE,
    DECODER,
    EACH_IMPLEMENTATION,
    EACH_PATH,
    HEAD,
    OTHER,
    VISION,
    DecoderStub,
    HeadStub,
    OtherDecoderStub,
    VisionStub,
    started,
)

import modelmeter as mm
from modelmeter import DeepseekOCRModel, ViewPlan
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2DecoderLayer


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
