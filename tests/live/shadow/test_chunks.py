"""Pages that are prefilled in chunks or onto a cache: the whole of every pass is known, and is the FLOP counter's."""

from typing import Any

import torch
from support.shadow_runs import CONTEXT, conventions_of, page_inputs, small_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import DynamicCache

from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL, VIEWS

CHUNK = 12  # tokens; the page has 31 image tokens


def shadow_of_page() -> Shadow:
    """A shadow with stats of its own, told of the page's views."""
    shadow = Shadow(SMALL, conventions_of(), stats=AnalyticRunStats())
    shadow.set_views(VIEWS)
    return shadow


def counting() -> FlopCounterMode:
    """With the mappings for kernels that torch counts as nothing."""
    return FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)


def images_of(inputs: dict[str, Any]) -> dict[str, Any]:
    """What the towers are given."""
    return {name: value for name, value in inputs.items() if name not in ("input_ids", "attention_mask")}


def prefill_in_chunks(model: Any, vision: str, prefill: str) -> tuple[Shadow, int]:
    """Vision first, then embeddings, `CHUNK` at a time, as serving engines do; the FLOPs that torch counts."""
    shadow, cache, counter = shadow_of_page(), DynamicCache(config=model.config.text_config), counting()
    embeddings = torch.zeros(1, CONTEXT, SMALL.decoder.hidden_size, dtype=torch.bfloat16)
    with torch.no_grad(), hooked(model, shadow), counter:
        with analytic_stage(vision):
            model.model.get_image_features(**images_of(page_inputs(1)), return_dict=True)
        with analytic_stage(prefill):
            for chunk in embeddings.split(CHUNK, dim=1):
                model(inputs_embeds=chunk, past_key_values=cache, logits_to_keep=1)
    return shadow, int(counter.get_total_flops())


def test_chunks_shorter_than_the_page() -> None:
    """37 tokens are chunks of 12, 12, 12 and 1; the last is no decoded token."""
    shadow, counted = prefill_in_chunks(small_model(), "vision", "prefill")
    sizes = [(step.stage, step.token_count, step.image_tokens) for step in shadow.stats.passes]
    assert sizes == [
        ("vision", 0, 31),
        *[("prefill", n, 31 if first else 0) for n, first in zip((12, 12, 12, 1), (1, 0, 0, 0), strict=True)],
    ]
    sums = aggregate(shadow.stats)
    assert sums.whole is not None and sums.whole.counted_flops == counted
    (seen,) = sums.observed
    assert (seen.context_len, seen.image_tokens, seen.decode_tokens) == (CONTEXT, VIEWS.image_tokens, 0)
    assert sums.tokens == ()


def test_vision_and_chunks_in_one_stage() -> None:
    """Then vision belongs to the first chunk's pass."""
    shadow, counted = prefill_in_chunks(small_model(), "page", "page")
    assert [step.token_count for step in shadow.stats.passes] == [12, 12, 12, 1]
    sums = aggregate(shadow.stats)
    assert sums.whole is not None and sums.whole.counted_flops == counted


def test_a_page_after_text_that_is_cached() -> None:
    """What the page adds to the pass is what it adds to one of as many tokens onto nothing."""
    model = small_model()
    shadow, cache, counter = shadow_of_page(), DynamicCache(config=model.config.text_config), counting()
    page = page_inputs(1) | {"attention_mask": torch.ones(1, 5 + CONTEXT, dtype=torch.long)}
    with torch.no_grad(), hooked(model, shadow), analytic_stage("turn"):
        with counter:
            model(input_ids=torch.arange(5)[None], past_key_values=cache, logits_to_keep=1)
            model(**page, past_key_values=cache, logits_to_keep=1)
            model(input_ids=torch.arange(1)[None], past_key_values=cache, logits_to_keep=1)
        text = torch.arange(CONTEXT)[None]
        again = DynamicCache(config=model.config.text_config)
        model(**page_inputs(1), logits_to_keep=1)
        model(input_ids=text, logits_to_keep=1)
        model(input_ids=text[:, :5], past_key_values=again, logits_to_keep=1)
        model(input_ids=text, past_key_values=again, logits_to_keep=1)
    passes = shadow.stats.passes
    assert [step.image_tokens for step in passes] == [0, VIEWS.image_tokens, 0, VIEWS.image_tokens, 0, 0, 0]
    costs = [step.whole.cost for step in passes if step.whole is not None]
    assert len(costs) == len(passes)
    assert costs[1] + costs[6] * -1 == costs[3] + costs[4] * -1  # with a page less without: onto 5 tokens, onto none
    assert sum(cost.counted_flops for cost in costs[:3]) == counter.get_total_flops()
    turn, *others = aggregate(shadow.stats).observed
    assert (turn.context_len, turn.image_tokens, turn.decode_tokens) == (5 + CONTEXT, VIEWS.image_tokens, 1)
    assert [seen.image_tokens for seen in others] == [VIEWS.image_tokens, 0, 0]


def test_a_token_decoded_meanwhile_takes_no_page() -> None:
    """The page's vision waits for its own prefill."""
    model = small_model()
    shadow, cache = shadow_of_page(), DynamicCache(config=model.config.text_config)
    with torch.no_grad(), hooked(model, shadow):
        model(input_ids=torch.arange(4)[None], past_key_values=cache, logits_to_keep=1)
        features = model.model.get_image_features(**images_of(page_inputs(1)), return_dict=True)
        model(input_ids=torch.arange(1)[None], past_key_values=cache, logits_to_keep=1)
        ids = page_inputs(1)["input_ids"]
        model(input_ids=ids, mm_encoder_outputs={"image": features}, logits_to_keep=1)
    assert [step.image_tokens for step in shadow.stats.passes] == [0, 0, VIEWS.image_tokens]


def test_pages_encoded_ahead() -> None:
    """The vision of two pages, then their prefills in the other order."""
    model, counter = small_model(), counting()
    shadow = shadow_of_page()
    features, inputs = {}, page_inputs(1)
    with torch.no_grad(), hooked(model, shadow), counter:
        for page in (1, 2):
            shadow.start_page(page, views=VIEWS)
            features[page] = model.model.get_image_features(**images_of(inputs), return_dict=True)
        for page in (2, 1):
            shadow.start_page(page, views=VIEWS)
            model(input_ids=inputs["input_ids"], mm_encoder_outputs={"image": features[page]}, logits_to_keep=1)
    sums = aggregate(shadow.stats)
    assert [(seen.page, seen.image_tokens) for seen in sums.observed] == [(page, VIEWS.image_tokens) for page in (2, 1)]
    assert sums.whole is not None and sums.whole.counted_flops == counter.get_total_flops()
