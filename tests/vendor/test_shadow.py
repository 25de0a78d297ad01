"""A shadow run of the vendor's code: its module names and cache, page after page, real tensors on the CPU."""

from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from modelmeter import DeepseekOCRModel, ViewPlan
from modelmeter.core.cost import Cost
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.recording.flops import FLOP_FORMULAS
from modelmeter.live.reference.hook_points import hook_points
from modelmeter.live.reference.vendor import VendorCheckpoint
from modelmeter.live.shadow.aggregate import Aggregates, aggregate, module_path
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stage import analytic_stage
from modelmeter.live.shadow.stats import AnalyticRunStats

VIEWS = ViewPlan.from_grid((2, 1), base_size=384, tile_size=256)
CONTEXT = VIEWS.image_tokens + 7
STEPS = 8
MODULES = ("sam_model", "vision_model", "projector")


@attrs.frozen(kw_only=True)
class Ran:
    """What a run left behind."""

    checkpoint: VendorCheckpoint
    batch: int
    stats: AnalyticRunStats
    sums: Aggregates
    cache: Any
    flops: FlopCounterMode


@pytest.fixture(scope="module", params=[("eager", 1), ("flash", 1), ("eager", 2)], ids=str)
def ran(request: pytest.FixtureRequest, small_weights: Path) -> Ran:
    """A page with tiles, prefilled, and eight decode steps; experts are observed."""
    attention, batch = request.param
    checkpoint = VendorCheckpoint(small_weights, trust_remote_code=True, attention=attention, device="cpu")
    conventions = attrs.evolve(checkpoint.conventions, coverage="expected")
    shadow = Shadow(checkpoint.config, conventions, stats=AnalyticRunStats())
    shadow.start_page(1, views=VIEWS)
    counter = FlopCounterMode(display=False, custom_mapping=FLOP_FORMULAS)
    page = checkpoint.page(VIEWS, CONTEXT, 1).inputs
    for name in ("input_ids", "attention_mask", "images_seq_mask", "images_spatial_crop"):
        page[name] = page[name].expand(batch, -1)
    page["images"] = page["images"] * batch
    cache = page["past_key_values"]
    with torch.no_grad(), checkpoint.running(), hooked(checkpoint.model, shadow, experts=True), counter:
        with analytic_stage("prefill"):
            checkpoint.model(**page)
        for step in range(STEPS):
            with analytic_stage("decode"):
                checkpoint.model(**checkpoint.decode(CONTEXT + step, batch, cache).inputs)
    stats = shadow.stats
    return Ran(checkpoint=checkpoint, batch=batch, stats=stats, sums=aggregate(stats), cache=cache, flops=counter)


def test_every_layer_costs_what_the_static_model_says(ran: Ran) -> None:
    """Pages are encoded one after another: vision is that of one page, as often as there are pages."""
    conventions = attrs.evolve(ran.checkpoint.conventions, coverage="expected")
    model = DeepseekOCRModel.from_config(ran.checkpoint.config, **attrs.asdict(conventions))
    model.set_views(VIEWS)
    model.start_vision(1)
    vision = model.trace().by_layer()
    for module in MODULES:
        assert ran.sums.by_layer[f"model.{module}"].cost == vision[f"model.{module}"] * ran.batch
    model.start_prefill(CONTEXT, ran.batch)
    passes = [model.trace().by_layer()]
    model.start_decode()
    for _ in range(STEPS):
        passes.append(model.trace().by_layer())
        model.decode_one_token()
    layers = len(hook_points(ran.checkpoint.model).layers)
    for place, step in enumerate(ran.stats.decoder_steps):
        assert step.cost.cost == passes[place // layers][module_path(step)]
    assert len(ran.stats.decoder_steps) == layers * (STEPS + 1)


def test_counted_flops_are_the_flop_counters(ran: Ran) -> None:
    counts = ran.flops.get_flop_counts()
    for path, total in ran.sums.by_layer.items():
        assert total.cost.counted_flops == sum(counts[f"DeepseekOCRForCausalLM.{path}"].values()) > 0
    assert ran.sums.whole is not None
    assert ran.sums.whole.counted_flops == ran.flops.get_total_flops()


def test_what_has_no_hook(ran: Ran) -> None:
    """The head, over all positions; nothing is negative."""
    decoder = ran.checkpoint.config.decoder
    assert ran.sums.not_hooked is not None
    head = ran.batch * 2 * decoder.hidden_size * decoder.vocab_size
    assert ran.sums.not_hooked["prefill"].counted_flops == CONTEXT * head
    assert ran.sums.not_hooked["decode"].counted_flops == STEPS * head
    assert all(min(cost.values()) >= 0 for cost in ran.sums.not_hooked.values())
    assert sum(ran.sums.not_hooked.values(), ran.sums.hooked.cost) == ran.sums.whole
    assert isinstance(ran.sums.whole, Cost)


def test_kv_bytes_are_those_of_the_real_cache(ran: Ran) -> None:
    layers = len(hook_points(ran.checkpoint.model).layers)
    held = sum(step.kv_cache_bytes for step in ran.stats.decoder_steps[-layers:])
    assert held == sum(tensor.nbytes for tensor in cached_tensors(ran.cache))


def test_tiles_come_before_the_global_view(ran: Ran) -> None:
    tiles, base = (VIEWS.num_tiles, 3, 256, 256), (1, 3, 384, 384)
    seen = [(step.shape, step.view) for step in ran.stats.vision_steps if step.module == "sam_model"]
    assert seen == [(tiles, "tiles"), (base, "global")] * ran.batch


def test_experts_in_turn(ran: Ran) -> None:
    """The adapter hands every token the next `k` of the experts: min(E, k * tokens) of them."""
    decoder = ran.checkpoint.config.decoder
    for step in ran.stats.decoder_steps:
        if decoder.mlp_layer_types[step.layer_idx] == "sparse":
            tokens = step.batch_size * step.token_count
            assert step.experts_hit == min(decoder.n_routed_experts, decoder.num_experts_per_tok * tokens)


def test_no_hooks_are_left(ran: Ran) -> None:
    points = hook_points(ran.checkpoint.model)
    assert points.implementation == "vendor"
    modules = [points.sam, points.clip, points.projector, *points.layers, *filter(None, points.routers)]
    assert not any(module._forward_hooks for module in modules)
