"""`fit`: what fits a device, the largest batch and context, and what would fit."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.device import Device
from modelmeter.hardware.fit import fit
from modelmeter.hardware.limits import max_batch, max_context
from modelmeter.hardware.needs import Needs, Workload
from modelmeter.hardware.pool import kv_pool
from modelmeter.models.deepseek_ocr.config import DecoderConfig, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import plan_views

TOKEN = 2 * 12 * 10 * 128 * 2  # keys and values, layers, heads, width, bf16
WEIGHTS = 3_336_106_240 * 2  # all in bf16
GB = 10**9
PAGE = plan_views(1654, 2339)
SMALL = plan_views(600, 600)  # no tiles
MODEL = DeepseekOCRModel.from_config(logits="last")


def device(memory_bytes, kind="cpu"):
    """A device of so many bytes; a CPU has no context and no workspace."""
    return Device(name="made-up", title="", tensor={"bf16": 1e12}, memory_bytes=memory_bytes, bandwidth=1e12, kind=kind)


def found(memory_bytes=20 * GB, model=MODEL, **options):
    return fit(model, device(memory_bytes), **{"views": PAGE, "reserve": 0, **options})


def test_the_released_model_on_a_known_card():
    result = fit(None, "a100-40g", views=PAGE)
    assert result.budget.weights_bytes == WEIGHTS
    assert result.kv_bytes_per_token == TOKEN
    assert result.workload.context_len == 903 + 10  # image tokens of 2 x 3 tiles, and the usual prompt
    assert [cache.held for cache in result.caches] == ["concat", "blocks"]
    assert result.caches[0].kv_bytes == (913 + 512) * TOKEN
    assert result.fits and result.options == ()
    assert result.left_bytes(result.caches[0]) == result.budget.free_bytes - result.caches[0].run_bytes


@settings(deadline=None, max_examples=10)
@given(
    memory=st.integers(WEIGHTS, 60 * GB),
    decoded=st.integers(0, 2000),
    prefill_batch=st.sampled_from([None, 1, 5]),
    conventions=st.sampled_from([{}, {"logits": "last"}, {"cache": "in_place", "attention": "flash"}]),
)
def test_the_largest_batch_fits_and_one_more_does_not(memory, decoded, prefill_batch, conventions):
    model = DeepseekOCRModel.from_config(**conventions)
    result = found(memory, model, decode_tokens=decoded, prefill_batch=prefill_batch)
    free = memory - WEIGHTS
    for cache in result.caches:
        paged = cache.held == "blocks"
        options = {"block_tokens": 16, "prefill_batch": prefill_batch} if paged else {}
        need = Needs(model.engine, result.workload, **options)
        for limit in cache.limits:
            assert need.peak_bytes(limit.stage, limit.batch + 1) == limit.needed_bytes > free
            assert limit.batch == 0 or need.peak_bytes(limit.stage, limit.batch) <= free


def test_at_the_limit_to_the_byte():
    need = Needs(MODEL.engine, Workload(views=PAGE, context_len=913, decode_tokens=512))
    exactly = WEIGHTS + need.peak_bytes("run", 7)
    assert found(exactly).caches[0].run.batch == 7
    assert found(exactly - 1).caches[0].run.batch == 6


def test_what_stops_a_long_decode_is_the_cache():
    limit = found(views=None, context_len=913, decode_tokens=7000).caches[0].run
    assert limit.stopped_by == "decode"
    assert limit.kv_bytes == (limit.batch + 1) * 7913 * TOKEN
    assert limit.kv_bytes > limit.activations_bytes


def test_what_stops_a_page_is_the_vendors_logits():
    limit = found(model=None).caches[0].run
    assert (limit.stopped_by, limit.place) == ("prefill", "lm_head")


def test_the_largest_of_several_kinds_decides_at_every_batch():
    alone = found(views=PAGE)
    both = found(views=[SMALL, PAGE])
    assert (both.decides, both.workload.views) == (1, PAGE)
    assert [limit.batch for limit in both.caches[0].limits] == [limit.batch for limit in alone.caches[0].limits]
    assert {limit.kind for limit in both.caches[0].limits} == {1}


def test_which_kind_stops_a_batch_may_be_another_than_the_one_that_decides():
    """A large view without tiles against a small cache: the batch at which each is stopped says which."""
    short = Needs(MODEL.engine, Workload(views=PAGE, context_len=913, decode_tokens=0))
    long = Needs(MODEL.engine, Workload(views=None, context_len=913, decode_tokens=7000))
    free = 20 * GB
    limits = [max_batch([need], free).batch for need in (short, long)]
    together = max_batch([short, long], free)
    assert together.batch == min(limits)
    assert limits[together.kind] == min(limits)


def test_the_longest_context_ends_with_the_positions():
    for limit in found(decode_tokens=512).caches[0].contexts:
        assert (limit.context_len, limit.stopped_by) == (8192 - 512, "positions")


@pytest.mark.parametrize("images", ["page", "text"])
@pytest.mark.parametrize("block_tokens", [None, 16])
def test_the_longest_context_ends_with_the_memory(images, block_tokens):
    need = Needs(MODEL.engine, Workload(views=PAGE, context_len=913, decode_tokens=100), block_tokens=block_tokens)
    free, batch = 12 * GB, 16
    limit = max_context(need, free, batch=batch, images=images, positions=8192)
    views = PAGE if images == "page" else None

    def peak(context):
        return need.of(Workload(views=views, context_len=context, decode_tokens=100)).peak_bytes("run", batch)

    assert limit.stopped_by in ("prefill", "decode")
    assert peak(limit.context_len) <= free < peak(limit.context_len + 1)


def test_no_context_where_the_page_alone_is_too_much():
    need = Needs(MODEL.engine, Workload(views=PAGE, context_len=913, decode_tokens=100))
    assert max_context(need, 10**6, batch=1, images="page", positions=8192).context_len == 0
    ended = max_context(need, 20 * GB, batch=1, images="page", positions=900)  # 903 image tokens
    assert (ended.context_len, ended.stopped_by) == (0, "positions")


def test_the_positions_are_those_of_the_configuration():
    config = DeepseekOCRConfig(decoder=DecoderConfig(max_position_embeddings=2048))
    assert found(model=config, decode_tokens=48).caches[0].contexts[0].context_len == 2000


def test_weights_that_do_not_fit_say_by_how_much_and_what_would():
    result = found(6 * GB, reserve="10%")
    assert not result.holds_weights and not result.fits
    assert result.budget.missing_bytes == WEIGHTS - 6 * GB * 9 // 10
    assert [cache.run.batch for cache in result.caches] == [0, 0]
    assert {option.precision.weights for option in result.options} == {"fp8", "int8", "int4"}
    for option in result.options:
        smaller = DeepseekOCRModel.from_config(precision=option.precision)
        assert option.weights_bytes == smaller.parameter_bytes() < WEIGHTS
        assert option.holds_weights == (option.weights_bytes <= 6 * GB * 9 // 10)


def test_a_precision_that_holds_the_weights_may_not_run_the_batch():
    int4 = DeepseekOCRModel.from_config(precision=Precision(weights="int4")).parameter_bytes()
    options = {(o.precision.weights, o.precision.parts): o for o in found(int4 + 10**6).options}
    assert options["int4", ("decoder",)].holds_weights and not options["int4", ("decoder",)].holds_run
    assert not options["int8", ("decoder",)].holds_weights


def test_options_of_a_model_that_is_small_already():
    model = DeepseekOCRModel.from_config(precision=Precision(weights="int8", activations="int8"), logits="last")
    result = found(10**9, model)
    assert {option.precision.weights for option in result.options} == {"fp8", "int8", "int4"}
    assert all(option.weights_bytes < model.parameter_bytes() for option in result.options)


def test_int4_leaves_what_it_saves():
    int4 = DeepseekOCRModel.from_config(precision=Precision(weights="int4"), logits="last")
    saved = WEIGHTS - int4.parameter_bytes()
    assert found(model=int4).budget.free_bytes - found().budget.free_bytes == saved
    routed = (
        11 * 64 * 3 * 1280 * 896
    )  # values of the experts alone: each keeps 4 of 16 bits, and 20 more a group of 128
    assert saved > routed * (16 - 4 - 20 / 128) / 8


@settings(deadline=None, max_examples=10)
@given(memory=st.integers(8 * GB, 60 * GB), prefill_batch=st.integers(1, 8), decoded=st.integers(1, 2000))
def test_the_pool_agrees_with_the_largest_batch(memory, prefill_batch, decoded):
    result = found(memory, decode_tokens=decoded, prefill_batch=prefill_batch)
    batch, end = result.caches[1].run.batch, 913 + decoded
    options = {"prefill_batch": prefill_batch, "reserve": 0}

    def holds(count):
        # fewer pages than `prefill_batch` are prefilled at once where there are fewer
        pool = kv_pool(MODEL, device(memory), result.workloads, max_batch=count, **options)
        return pool.sequences(end) >= count

    assert batch == 0 or holds(batch)
    assert not holds(batch + 1)


def test_a_pool_in_numbers():
    work = Workload(views=PAGE, context_len=913, decode_tokens=512)
    pool = kv_pool(MODEL, device(20 * GB), [work], max_batch=64, prefill_batch=2, reserve=0)
    two = Needs(MODEL.engine, work).stage("prefill", 2).activations_bytes
    assert pool.block_bytes == 16 * TOKEN
    assert pool.blocks == (20 * GB - WEIGHTS - two) // (16 * TOKEN)
    assert pool.sequences(17) == pool.blocks // 2
    short = kv_pool(MODEL, device(WEIGHTS + two - 5), [work], max_batch=64, prefill_batch=2, reserve=0)
    assert (short.blocks, short.missing_bytes) == (0, 5)


def test_text_alone():
    result = found(views=None, context_len=100, decode_tokens=28)
    assert [stage.stage for stage in result.stages] == ["prefill", "decode"]
    assert [limit.images for limit in result.caches[0].contexts] == ["text"]
    assert result.caches[1].kv_bytes == 128 * TOKEN  # 8 blocks, all full


@pytest.mark.parametrize(
    "options",
    [
        {"views": None},
        {"views": []},
        {"views": "1654x2339"},
        {"context_len": 902},  # one less than the image tokens
        {"batch_size": 0},
        {"decode_tokens": -1},
        {"prompt_tokens": -1},
        {"batch_size": 1.5},
        {"prefill_batch": 0},
        {"reserve": "all"},
        {"cuda_context": "-1 MiB"},
    ],
)
def test_what_cannot_be_is_an_error(options):
    with pytest.raises(ModelMeterError):
        found(**options)


def test_an_unknown_device_is_an_error():
    with pytest.raises(ModelMeterError, match="a100-40g"):
        fit(None, "a100-40gb", views=PAGE)


def test_asking_moves_no_state_of_the_model():
    model = DeepseekOCRModel.from_config()
    model.set_views(SMALL)
    cache = model.start_prefill(600, 2)
    before = model.cost()
    found(model=model)
    assert (model.views, model.kv_cache, model.cost()) == (SMALL, cache, before)


def test_what_a_batch_holds_is_the_largest_of_all_kinds():
    kinds = [plan_views(*size) for size in ((600, 600), (1654, 2339), (3000, 600), (900, 900))]
    alone = [found(views=kind, batch_size=5) for kind in kinds]
    together = found(views=kinds, batch_size=5)
    for place, cache in enumerate(together.caches):
        assert cache.run_bytes == max(one.caches[place].run_bytes for one in alone)
        assert cache.kv_bytes == max(one.caches[place].kv_bytes for one in alone)
        assert cache.run.batch == min(one.caches[place].run.batch for one in alone)


def test_an_option_fits_exactly_where_its_own_fit_says_so():
    """Either way of holding the cache, with a limit on what is prefilled at once, and whatever kind of page it is."""
    small = plan_views(640, 640)
    for memory in (9 * GB, 10 * GB, 12 * GB):
        options = {"views": [PAGE, small], "batch_size": 20, "prefill_batch": 1}
        result = found(memory, **options)
        if result.fits:
            continue
        for option in result.options:
            model = DeepseekOCRModel.from_config(precision=option.precision, logits="last")
            assert option.holds_run == found(memory, model, **options).fits, (memory, str(option.precision))
        assert any(option.holds_run for option in result.options)


@pytest.mark.parametrize("decode_tokens", [7279, 7280])
def test_a_run_beyond_the_positions_is_known(decode_tokens):
    # 903 image tokens and 10 of the prompt: 8192 positions leave 7279 steps
    assert found(80 * GB, decode_tokens=decode_tokens).too_long == (913 + decode_tokens > 8192)
