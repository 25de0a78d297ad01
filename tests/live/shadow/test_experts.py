"""The experts really reached: observed by a hook on the routers, beside the number expected and the weights read."""

from typing import Any

import pytest
import torch
from support.shadow_runs import CONTEXT, STEPS, Ran, conventions_of, run, small_model
from torch import nn

from modelmeter.live.reference.hook_points import hook_points
from modelmeter.live.shadow.aggregate import aggregate
from modelmeter.live.shadow.hooks import hooked
from modelmeter.live.shadow.shadow import Shadow
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.live.verification.real_run import SMALL

DECODER = SMALL.decoder
EXPERTS, TOP_K = DECODER.n_routed_experts, DECODER.num_experts_per_tok
BATCH = 2
EXPERT_BYTES = 3 * DECODER.hidden_size * DECODER.moe_intermediate_size * 2  # gate, up and down in bf16


@pytest.fixture(scope="module")
def watched() -> tuple[Ran, list[list[int]]]:
    """A run with experts observed, and the experts of every call of every router, seen by other hooks."""
    model: Any = small_model()
    chosen: list[list[int]] = []

    def note(_router: nn.Module, _inputs: Any, output: Any) -> None:
        chosen.append(output[-1].flatten().tolist())

    handles = [router.register_forward_hook(note) for router in hook_points(model).routers if router is not None]
    ran = run(model, conventions_of(), batch=BATCH, experts=True)
    for handle in handles:
        handle.remove()
    return ran, chosen


def test_hits_are_the_different_experts_that_were_chosen(watched: tuple[Ran, list[list[int]]]) -> None:
    ran, chosen = watched
    sparse = [step for step in ran.stats.decoder_steps if DECODER.mlp_layer_types[step.layer_idx] == "sparse"]
    assert len(sparse) == 3 * (STEPS + 1)
    assert [step.experts_hit for step in sparse] == [len(set(experts)) for experts in chosen]
    dense = [step for step in ran.stats.decoder_steps if step.layer_idx == 0]
    assert {(step.experts_hit, step.weight_bytes_observed) for step in dense} == {(None, None)}


def test_expected_ones(watched: tuple[Ran, list[list[int]]]) -> None:
    """E * (1 - (1 - k/E) ** tokens)."""
    for step in watched[0].stats.decoder_steps:
        if step.experts_hit is not None:
            tokens = BATCH * (CONTEXT if step.stage == "prefill" else 1)
            assert step.experts_expected == pytest.approx(EXPERTS * (1 - (1 - TOP_K / EXPERTS) ** tokens))


def test_an_expert_more_is_an_experts_weights_more(watched: tuple[Ran, list[list[int]]]) -> None:
    """All else that a layer reads is the same: attention, norms, router, shared expert."""
    hidden, shared = DECODER.hidden_size, DECODER.moe_intermediate_size * DECODER.n_shared_experts
    rest = 2 * (4 * hidden * hidden + 2 * hidden + EXPERTS * hidden + 3 * hidden * shared)
    for step in watched[0].stats.decoder_steps:
        if step.experts_hit is not None:
            assert step.weight_bytes_observed == rest + step.experts_hit * EXPERT_BYTES
            assert step.weight_bytes == pytest.approx(rest + step.experts_expected * EXPERT_BYTES, abs=2)


def test_by_layer_and_stage(watched: tuple[Ran, list[list[int]]]) -> None:
    ran, chosen = watched
    reached = {(r.layer_idx, r.stage): r for r in aggregate(ran.stats).experts}
    assert set(reached) == {(layer, stage) for layer in (1, 2, 3) for stage in ("prefill", "decode")}
    for layer in (1, 2, 3):
        hits = [len(set(experts)) for experts in chosen[3 + layer - 1 :: 3]]  # beyond the prefill's three
        found = reached[layer, "decode"]
        assert (found.passes, found.hit) == (STEPS, sum(hits) / STEPS)
        steps = [s for s in ran.stats.decoder_steps if (s.layer_idx, s.stage) == (layer, "decode")]
        assert found.weight_bytes == sum(step.weight_bytes for step in steps)
        assert found.weight_bytes_observed == sum(step.weight_bytes_observed or 0 for step in steps)


def test_nobody_watches_unless_asked() -> None:
    stats = run(small_model(), conventions_of(), steps=1).stats
    assert all(step.experts_hit is None for step in stats.decoder_steps)
    assert aggregate(stats).experts == ()


def test_a_pass_that_broke_off_leaves_no_experts_to_the_next() -> None:
    """Layer 2 fails between its router and its end: what it reached is not layer 0's, which is dense."""
    model: Any = small_model()
    points = hook_points(model)
    shadow = Shadow(SMALL, conventions_of(), stats=AnalyticRunStats())

    def fail(*_: Any) -> None:
        raise RuntimeError("broken")

    ids = torch.arange(5)[None]
    with torch.no_grad(), hooked(model, shadow, experts=True):
        broken = model.model.language_model.layers[2].mlp.experts.register_forward_pre_hook(fail)
        with pytest.raises(RuntimeError, match="broken"):
            model(input_ids=ids)
        broken.remove()
        model(input_ids=ids)
    seen = [(step.layer_idx, step.experts_hit is not None) for step in shadow.stats.decoder_steps]
    sparse = [router is not None for router in points.routers]
    assert seen == [*enumerate(sparse[:2]), *enumerate(sparse)]
