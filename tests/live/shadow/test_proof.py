"""Hook totals equal the static model's, layer by layer, and the FLOP counter's; KV bytes equal the real cache's."""

from collections.abc import Iterator

import attrs
import pytest
from support.shadow_runs import CONTEXT, STEPS, Attention, Experts, Ran, conventions_of, run, small_model

from modelmeter import DeepseekOCRModel
from modelmeter.core.cost import Cost
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.reference.hook_points import IMPLEMENTATIONS
from modelmeter.live.shadow.aggregate import aggregate, module_path
from modelmeter.live.verification.real_run import SMALL, VIEWS
from modelmeter.live.verification.verify import held_bytes

LAYERS = SMALL.decoder.num_hidden_layers
MODULES = ("model.sam_model", "model.vision_model", "model.projector")
PATHS = (*MODULES, *(f"model.layers.{index}" for index in range(LAYERS)))
RUNS = [
    pytest.param((attention, experts, batch), id=f"{attention}-{experts}-{batch}")
    for attention in ("eager", "flash")
    for experts in ("eager", "grouped_mm")
    for batch in (1, 2)
]


@pytest.fixture(scope="module", params=RUNS)
def ran(request: pytest.FixtureRequest) -> Ran:
    """A page with tiles, prefilled, and eight decode steps: with each kind of attention and experts, batch 1 and 2."""
    attention: Attention
    experts: Experts
    attention, experts, batch = request.param
    return run(small_model(attention, experts), conventions_of(attention, experts), batch=batch)


def static_passes(ran: Ran) -> Iterator[tuple[Cost, dict[str, Cost]]]:
    """(the whole, by module) of each pass, of the stateful model moved along as `analyze` does."""
    model = DeepseekOCRModel.from_config(SMALL, **attrs.asdict(ran.conventions))
    model.set_views(VIEWS)
    model.start_prefill(CONTEXT, ran.batch)
    yield model.cost(), model.trace().by_layer()
    model.start_decode()
    for _ in range(STEPS):
        yield model.cost(), model.trace().by_layer()
        model.decode_one_token()


def test_every_layer_of_every_pass_costs_what_the_static_model_says(ran: Ran) -> None:
    passes = list(static_passes(ran))
    for path in MODULES:
        steps = [step for step in ran.stats.vision_steps if module_path(step) == path]
        assert sum((step.cost.cost for step in steps), Cost()) == passes[0][1][path]
    assert len(ran.stats.decoder_steps) == LAYERS * (STEPS + 1)
    for place, step in enumerate(ran.stats.decoder_steps):
        assert step.layer_idx == place % LAYERS
        assert step.cost.cost == passes[place // LAYERS][1][module_path(step)]


def test_totals_are_the_static_models(ran: Ran) -> None:
    passes = list(static_passes(ran))
    sums = aggregate(ran.stats)
    assert sums.whole == sum((whole for whole, _ in passes), Cost())
    by_layer = {path: sum((layers.get(path, Cost()) for _, layers in passes), Cost()) for path in PATHS}
    assert {path: total.cost for path, total in sums.by_layer.items()} == by_layer


def test_counted_flops_are_the_flop_counters(ran: Ran) -> None:
    """Of each hooked module, and of the whole with what has no hook."""
    sums = aggregate(ran.stats)
    counts, names = ran.flops.get_flop_counts(), IMPLEMENTATIONS["transformers"]
    real = (names.sam, names.clip, names.projector, *(f"{names.layers}.{index}" for index in range(LAYERS)))
    for path, real_path in zip(PATHS, real, strict=True):
        module = counts[f"UnlimitedOcrForConditionalGeneration.{real_path}"]
        assert sums.by_layer[path].cost.counted_flops == sum(module.values()) > 0
    assert sums.whole is not None
    assert sums.whole.counted_flops == ran.flops.get_total_flops()


def test_what_has_no_hook_is_the_head_in_the_counters_eyes(ran: Ran) -> None:
    """Embedding, rotary table, masks and norms are elementwise here; the head runs once a pass, on one position."""
    hidden, vocab = SMALL.decoder.hidden_size, SMALL.decoder.vocab_size
    head = ran.batch * 2 * hidden * vocab  # a multiply-add is 2
    missing = aggregate(ran.stats).not_hooked
    assert missing is not None
    assert {stage: cost.counted_flops for stage, cost in missing.items()} == {"prefill": head, "decode": STEPS * head}
    assert all(min(cost.values()) >= 0 for cost in missing.values())
    assert all(cost.kv_bytes == 0 for cost in missing.values())


def test_kv_bytes_are_those_of_the_real_cache(ran: Ran) -> None:
    tensors = cached_tensors(ran.cache)
    assert len(tensors) == 2 * LAYERS
    for step in ran.stats.decoder_steps[-LAYERS:]:
        pair = tensors[2 * step.layer_idx : 2 * step.layer_idx + 2]
        assert step.kv_cache_bytes == sum(tensor.untyped_storage().nbytes() for tensor in pair)
        assert step.kv_len == pair[0].shape[2] == CONTEXT + STEPS
    assert sum(step.kv_cache_bytes for step in ran.stats.decoder_steps[-LAYERS:]) == held_bytes(ran.cache)


def test_the_shapes_that_were_seen(ran: Ran) -> None:
    """transformers runs the global views of all pages, then all tiles; 64 pixels are one feature."""
    base, tile, tiles, channels = VIEWS.base_size, VIEWS.tile_size or 0, VIEWS.num_tiles * ran.batch, SMALL.clip.width
    assert [(step.module, step.shape, step.view) for step in ran.stats.vision_steps] == [
        ("sam_model", (ran.batch, 3, base, base), "global"),
        ("vision_model", (ran.batch, channels, base // 64, base // 64), "global"),
        ("projector", (ran.batch, (base // 64) ** 2, 2 * channels), "global"),
        ("sam_model", (tiles, 3, tile, tile), "tiles"),
        ("vision_model", (tiles, channels, tile // 64, tile // 64), "tiles"),
        ("projector", (tiles, (tile // 64) ** 2, 2 * channels), "tiles"),
    ]
    firsts = [step for step in ran.stats.decoder_steps if step.layer_idx == 0]
    prefill = ("prefill", 0, CONTEXT, CONTEXT, ran.batch)
    decode = [("decode", step, 1, CONTEXT + step + 1, ran.batch) for step in range(STEPS)]
    seen = [(step.stage, step.step, step.token_count, step.kv_len, step.batch_size) for step in firsts]
    assert seen == [prefill, *decode]
