"""The decoder of the released model against the real one, as integers: totals, each kind of operator, each module."""

import pytest
import torch
from support.compare import assert_same_modules, assert_same_operators
from support.reference import filled_cache, image_arguments, images, token_ids

from modelmeter import ViewPlan, plan_views

# One token, two (the least with a triangle), odd ones, a power of two, pages in base and Gundam mode, the longest.
LENGTHS = (1, 2, 7, 100, 283, 913, 1024, 8192)
CACHED = (1, 2, 7, 100, 283, 913, 1024, 8191)
BATCHES = (1, 4)


def assert_equal(model, counted):
    trace = model.trace()
    assert trace.total.counted_flops == model.cost().counted_flops == counted.total
    assert_same_operators(trace, counted)
    assert_same_modules(trace, counted)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("length", LENGTHS)
def test_prefill(real, make_model, length, batch):
    counted = real.count(lambda real: real(input_ids=token_ids(batch, length), use_cache=True))
    model = make_model()
    model.start_prefill(length, batch)
    assert_equal(model, counted)


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("cached", CACHED)
def test_decode(real, make_model, cached, batch):
    """The step after `cached` tokens, which a real forward has put into a real cache."""
    cache = filled_cache(real.real, batch, [cached])
    assert cache.get_seq_length() == cached
    step = {"input_ids": token_ids(batch, 1), "past_key_values": cache, "use_cache": True}
    counted = real.count(lambda real: real(**step))
    model = make_model()
    model.start_prefill(cached, batch)
    model.start_decode()
    assert_equal(model, counted)
    assert cache.get_seq_length() == cached + 1


def test_several_decode_steps(real, make_model):
    cache = filled_cache(real.real, 2, [50])
    model = make_model()
    model.start_prefill(50, 2)
    model.start_decode()
    for _ in range(3):
        step = {"input_ids": token_ids(2, 1), "past_key_values": cache, "use_cache": True}
        assert model.cost().counted_flops == real.count(lambda real, step=step: real(**step)).total
        model.decode_one_token()


@pytest.mark.parametrize(
    ("chunks", "batch"),
    [((1, 1), 1), ((100, 28), 1), ((7, 300), 2), ((512, 512, 1), 1), ((256, 256, 256, 145), 1), ((903, 10), 4)],
    ids=lambda value: "+".join(map(str, value)) if isinstance(value, tuple) else str(value),
)
def test_chunked_prefill(real, make_model, chunks, batch):
    """Each chunk attends to all that is cached and to itself; the last is compared module by module."""
    *before, last = chunks
    cache = filled_cache(real.real, batch, before)
    chunk = {"input_ids": token_ids(batch, last), "past_key_values": cache, "use_cache": True}
    counted = real.count(lambda real: real(**chunk))
    model = make_model()
    model.start_prefill(chunks[0], batch)
    for tokens in chunks[1:]:
        model.extend_prefill(tokens)
    assert_equal(model, counted)
    assert model.kv_cache.total_len() == cache.get_seq_length() == sum(chunks)


@pytest.mark.parametrize(
    ("plan", "batch"),
    [
        (plan_views(640, 640, mode="small"), 1),
        (plan_views(1024, 1024, mode="base"), 2),
        (plan_views(1654, 2339), 1),
        (ViewPlan.from_grid((2, 2)), 2),
    ],
    ids=["small", "base-2-pages", "gundam-2x3", "gundam-2x2-2-pages"],
)
def test_vision_and_prefill_in_one_forward(real, make_model, monkeypatch, plan, batch):
    """Image and text in one call of the real model: image tokens and the usual 10 of text.

    What the ids hold cannot be read on meta, so the check that the placeholders are as many as the image tokens is
    switched off, by transformers' own switch; it counts no FLOPs. The placeholders' number is checked on the CPU.
    """
    monkeypatch.setenv("TRANSFORMERS_DISABLE_TORCH_CHECK", "1")
    context = plan.image_tokens + 10
    image_token = real.real.config.image_token_id
    ids = torch.tensor([[image_token] * plan.image_tokens + [0] * 10] * batch)
    call = {"input_ids": ids.to("meta"), "use_cache": True, **image_arguments(plan, batch)}
    outputs = []
    counted = real.count(lambda real: outputs.append(real(**call)))
    assert sum(len(tokens) for tokens in outputs[0].image_hidden_states) == int((ids == image_token).sum())
    model = make_model()
    model.set_views(plan)
    model.start_prefill(context, batch)
    assert_equal(model, counted)


@pytest.mark.parametrize("batch", BATCHES)
def test_last_logits_only(real, make_model, batch):
    """`logits_to_keep=1`, as generate() calls it: the head sees one position."""
    counted = real.count(lambda real: real(input_ids=token_ids(batch, 283), use_cache=True, logits_to_keep=1))
    model = make_model(logits="last")
    model.start_prefill(283, batch)
    assert_equal(model, counted)


@pytest.mark.parametrize(("chunks", "batch"), [((1,), 1), ((913,), 1), ((283,), 4), ((100, 28), 1)], ids=str)
def test_scaled_dot_product_attention(real_sdpa, make_model, chunks, batch):
    *before, last = chunks
    cache = filled_cache(real_sdpa.real, batch, before)
    call = {"input_ids": token_ids(batch, last), "past_key_values": cache, "use_cache": True}
    counted = real_sdpa.count(lambda real: real(**call))
    model = make_model(attention="flash")
    model.start_prefill(chunks[0], batch)
    for tokens in chunks[1:]:
        model.extend_prefill(tokens)
    assert_equal(model, counted)


@pytest.mark.parametrize("cached", [1, 913])
def test_scaled_dot_product_attention_decode(real_sdpa, make_model, cached):
    cache = filled_cache(real_sdpa.real, 1, [cached])
    step = {"input_ids": token_ids(1, 1), "past_key_values": cache, "use_cache": True}
    counted = real_sdpa.count(lambda real: real(**step))
    model = make_model(attention="flash")
    model.start_prefill(cached)
    model.start_decode()
    assert_equal(model, counted)


def test_a_run_is_the_sum_of_the_real_steps(real, make_model):
    """Vision and prefill of a page, then five tokens, all real: `simulate_run` counts the same."""
    plan = plan_views(640, 640, mode="small")
    context, tokens = plan.image_tokens + 10, 5
    total = real.count(lambda real: real.get_image_features(images(1, 640))).total
    total += real.count(lambda real: real(input_ids=token_ids(1, context), use_cache=True)).total
    cache = filled_cache(real.real, 1, [context])
    for _ in range(tokens):
        step = {"input_ids": token_ids(1, 1), "past_key_values": cache, "use_cache": True}
        total += real.count(lambda real, step=step: real(**step)).total
    model = make_model()
    model.set_views(plan)
    model.start_prefill(context)
    assert model.simulate_run(decode_tokens=tokens).total.cost.counted_flops == total
