"""What stages hold: exact bytes of cache, logits and activations, and how they grow with the batch."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import plan_views

TOKEN = 2 * 12 * 10 * 128 * 2  # keys and values, layers, heads, width, bf16
PAGE = plan_views(1654, 2339)
WORK = Workload(views=PAGE, context_len=913, decode_tokens=512)
VENDOR = DeepseekOCRModel.from_config()
MODELS = {
    "vendor": VENDOR,
    "last": DeepseekOCRModel.from_config(logits="last"),
    "in_place": DeepseekOCRModel.from_config(cache="in_place", attention="flash"),
    "transformers": DeepseekOCRModel.from_config(implementation="transformers"),
    "int8 cache": DeepseekOCRModel.from_config(precision=Precision(kv="int8")),
}


def needs(name="vendor", work=WORK, **options):
    return Needs(MODELS[name].engine, work, **options)


def test_the_cache_at_the_end_exact_and_in_blocks():
    assert needs().kv_bytes(1, WORK.end) == TOKEN * (913 + 512)
    assert needs(block_tokens=16).kv_bytes(1, WORK.end) == TOKEN * 90 * 16  # 1425 tokens are 89.06 blocks
    assert needs(block_tokens=16).kv_bytes(7, 913) == 7 * TOKEN * 58 * 16  # each sequence has blocks of its own
    assert needs(block_tokens=16).kv_bytes(1, 912) == TOKEN * 912  # 57 blocks, all full


def test_a_quantised_cache_has_its_scales():
    assert needs("int8 cache").kv_bytes(3, 100) == 3 * 100 * 2 * 12 * 10 * (128 + 2)  # an fp16 scale a token and head


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_activations_are_those_of_the_model(name, batch):
    model = DeepseekOCRModel.from_config(MODELS[name].config, precision=MODELS[name].precision, **options_of(name))
    model.set_views(PAGE)
    model.start_vision(batch)
    assert needs(name).stage("vision", batch).activations_bytes == model.activation_peak_bytes()
    cache = model.start_prefill(913, batch)
    assert needs(name).stage("prefill", batch).activations_bytes == model.activation_peak_bytes()
    model.start_decode()
    cache.update(num_new_tokens=511)
    assert needs(name).stage("decode", batch).activations_bytes == model.activation_peak_bytes()  # the last step


def options_of(name):
    """The conventions of one of MODELS."""
    chosen = MODELS[name].conventions
    return {field: getattr(chosen, field) for field in ("implementation", "attention", "cache", "logits")}


def test_vendor_logits_of_all_positions_are_the_most_of_a_prefill():
    stage = needs().stage("prefill", 2)
    assert stage.logits_bytes == 2 * 913 * 129280 * (2 + 4)  # in bf16, and their copy in fp32
    assert stage.place == "lm_head"
    assert stage.logits_bytes > stage.activations_bytes / 2


def test_logits_of_the_last_position():
    stage = needs("last").stage("prefill", 2)
    assert stage.logits_bytes == 2 * 129280 * (2 + 4)
    assert stage.place == "model.sam_model.blocks.2.attn"  # the first block that attends globally
    assert needs("last").stage("vision", 2).logits_bytes == 0


def test_a_growing_cache_is_counted_as_it_grows():
    """All of the cache is there when the vendor's logits are; with the last position's alone vision peaks before."""
    full = needs().stage("prefill", 1)
    assert full.peak_bytes == full.activations_bytes + TOKEN * 913
    early = needs("last").stage("prefill", 1)
    assert early.peak_bytes == early.activations_bytes


def test_the_last_step_copies_one_layers_keys_beside_the_whole_cache():
    """`cat` of a layer's keys: old and new ones at once, while its new values are not cached yet."""
    stage = needs().stage("decode", 1)
    layer = TOKEN // 12
    assert stage.kv_bytes == TOKEN * WORK.end
    before = TOKEN * (WORK.end - 1)
    assert stage.peak_bytes >= before + layer // 2 * WORK.end
    assert stage.peak_bytes <= before + layer * WORK.end + TOKEN + stage.activations_bytes


@pytest.mark.parametrize("name", ["in_place", "vendor"])
def test_a_cache_with_its_room_from_the_start_adds_to_every_stage_of_the_run(name):
    need = needs(name, block_tokens=16)
    end = TOKEN * 90 * 16
    assert need.peak_bytes("run", 1) == end + max(need.stage(s, 1).activations_bytes for s in ("prefill", "decode"))
    assert need.stage("prefill", 1).kv_bytes == TOKEN * 58 * 16  # alone it has blocks for its own tokens
    assert need.in_run("prefill", 1).kv_bytes == end


def test_a_run_that_grows_is_its_largest_stage():
    need = needs()
    assert need.peak_bytes("run", 4) == max(need.peak_bytes("prefill", 4), need.peak_bytes("decode", 4))
    assert need.deciding_stage(4) == "prefill"


def test_prefill_batch_leaves_only_so_many_prefills_at_once():
    need = needs(block_tokens=16, prefill_batch=2)
    two = needs(block_tokens=16).stage("prefill", 2).activations_bytes
    assert need.peak_bytes("run", 50) == 50 * TOKEN * 90 * 16 + two
    assert need.peak_bytes("run", 1) == needs(block_tokens=16).peak_bytes("run", 1)


def test_without_views_or_decode_there_are_fewer_stages():
    assert needs().stages == ("vision", "prefill", "decode", "run")
    assert needs(work=Workload(views=None, context_len=100, decode_tokens=0)).stages == ("prefill", "run")


@pytest.mark.parametrize(
    "options", [{"prefill_batch": 1}, {"prefill_batch": 0, "block_tokens": 16}, {"block_tokens": 0}]
)
def test_what_cannot_be_is_an_error(options):
    with pytest.raises(ModelMeterError, match=r"prefill_batch|block_tokens"):
        needs(**options)


@settings(deadline=None, max_examples=25)
@given(
    name=st.sampled_from(sorted(MODELS)),
    batch=st.integers(1, 300),
    more=st.integers(1, 50),
    context=st.integers(903, 4000),
    decoded=st.integers(0, 900),
    blocks=st.sampled_from([None, 16]),
)
def test_needs_grow_with_batch_and_context(name, batch, more, context, decoded, blocks):
    need = needs(name, Workload(views=PAGE, context_len=context, decode_tokens=decoded), block_tokens=blocks)
    longer = need.of(Workload(views=PAGE, context_len=context + more, decode_tokens=decoded))
    for stage in need.stages:
        assert need.peak_bytes(stage, batch + more) > need.peak_bytes(stage, batch)
        assert longer.peak_bytes(stage, batch) >= need.peak_bytes(stage, batch)
    assert need.peak_bytes("run", batch) >= need.kv_bytes(batch, context)
