"""The vendor's own code beside the twins: every stage at full size, every layer of it, and small models at any size."""

from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelmeter import DeepseekOCRModel, ViewPlan, plan_views
from modelmeter.core.layer import Layer
from modelmeter.live.reference.vendor import VendorCheckpoint
from modelmeter.live.verification.verify import Point, Verification, decode_steps, verify

A4 = plan_views(1654, 2339)  # 2 x 3 tiles
ONE_VIEW = plan_views(1024, 1024, mode="base")
POINTS = (
    Point(stage="vision", views=ONE_VIEW),
    Point(stage="vision", views=A4),
    Point(stage="page", views=A4, context_len=913),
    Point(stage="prefill", context_len=903),
    Point(stage="prefill", context_len=300, batch=2),
    *decode_steps(3, context_len=1000),
    *decode_steps(2, context_len=300, batch=3),
)
SMALL_VIEWS = ViewPlan.from_grid((2, 3), base_size=384, tile_size=256)
BOUNDED = ("activation_bytes", "peak_bytes")


@pytest.fixture(scope="module", params=["eager", "flash"])
def full_size(request: pytest.FixtureRequest, checkpoint: Path) -> Verification:
    """Every point of the released sizes, without data."""
    return verify(VendorCheckpoint(checkpoint, trust_remote_code=True, attention=request.param), POINTS)


def failures(verification: Verification) -> list[Any]:
    """What differs by more than it may."""
    return [
        (comparison.point, row.path, found)
        for comparison in verification.comparisons
        for row in comparison.rows
        for found in (*row.checks, *row.operators)
        if not found.ok
    ]


def test_every_stage_at_full_size(full_size: Verification) -> None:
    assert failures(full_size) == []
    assert full_size.ok


def test_the_figures_that_are_reached(full_size: Verification) -> None:
    """Far inside the bounds. The peak of one view lacks the image of zeros that stands for no tiles."""
    for comparison in full_size.comparisons:
        assert abs(comparison.total.check("activation_bytes").relative) < 0.001
        assert abs(comparison.total.check("peak_bytes").relative) < 0.014
        assert comparison.total.check("counted_flops").measured > 1e9


def test_every_twin_is_met(full_size: Verification) -> None:
    """But those for what the vendor's code does inline: these are part of the module around them."""
    conventions = full_size.conventions
    inline = {"VisionTower", "ImageTokens", "ImageTokenSplice", "CausalMask", "Head", "QuickGELU", "Experts"}
    twins: set[str] = set()

    def walk(layer: Layer) -> None:
        twins.add(type(layer).__name__)
        for _, child in layer.named_children():
            walk(child)

    walk(DeepseekOCRModel.from_config(**attrs.asdict(conventions)).network.model)
    met = {row.layer for comparison in full_size.comparisons for row in comparison.layers}
    assert twins - met == inline - {"Head"}
    attention = "LlamaAttention" if conventions.attention == "eager" else "LlamaFlashAttention2"
    assert {attention, "LlamaRotaryEmbedding", "ExpertLinear", "NoTPAttention", "NoTPFeedForward"} <= met


def test_all_experts_are_one_row(full_size: Verification) -> None:
    """64 modules there, one layer here: the same parameters, and the weights of those that some token reaches."""
    matrix = 1280 * 896
    for comparison in full_size.comparisons:
        if comparison.point.stage == "vision":
            continue
        tokens = comparison.point.batch * (1 if comparison.point.stage == "decode" else comparison.point.context_len)
        (row,) = [row for row in comparison.layers if row.path == "model.layers.1.mlp.experts.gate_proj"]
        assert row.times == 3 * 11  # up_proj and down_proj have the same numbers
        assert row.check("parameters").measured == 64 * matrix
        assert row.check("weight_read_bytes").measured == min(64, 6 * tokens) * matrix * 2


def test_the_first_keys_and_values_are_kept_without_a_copy(full_size: Verification) -> None:
    """The product that makes values writes the cache, and the cache holds what was written."""
    (prefill,) = [c for c in full_size.comparisons if c.point.context_len == 903]
    rows = {row.path: row for row in prefill.layers}
    values = 903 * 1280 * 2
    assert rows["model.layers.0.self_attn.v_proj"].check("kv_traffic_bytes").measured == values
    others = rows["model.layers.0.self_attn.q_proj"]  # k_proj has the same numbers: rotary comes after it
    assert others.check("kv_traffic_bytes").measured == 0 and others.times == 3 * 12
    assert prefill.total.check("kv_cache_bytes").measured == 12 * 2 * values
    cats = [o for o in rows["model.layers.0.self_attn"].operators if o.name == "cat"]
    assert [(o.measured_calls, o.analytic_calls) for o in cats] == [(3, 3)]  # rotate_half twice, and the rotary table


@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_real_weights_run_as_none_do(small_weights: Path, attention: Any) -> None:
    points = (
        Point(stage="vision", views=SMALL_VIEWS),
        Point(stage="page", views=SMALL_VIEWS, context_len=SMALL_VIEWS.image_tokens + 10),
        Point(stage="prefill", context_len=50, batch=2),
        *decode_steps(3, context_len=50, batch=2),
    )
    adapter = VendorCheckpoint(small_weights, trust_remote_code=True, attention=attention, device="cpu")
    assert not [
        found for *_, found in failures(verify(adapter, points)) if getattr(found, "quantity", "") not in BOUNDED
    ]


@pytest.fixture(scope="module")
def small(small_checkpoint: Path) -> dict[str, VendorCheckpoint]:
    """The small sizes without data."""
    return {
        kind: VendorCheckpoint(small_checkpoint, trust_remote_code=True, attention=kind)  # type: ignore[arg-type]
        for kind in ("eager", "flash")
    }


@settings(max_examples=25)
@given(
    st.sampled_from(["eager", "flash"]),
    st.sampled_from(["prefill", "page", "decode"]),
    st.integers(1, 200),
    st.integers(1, 4),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from([256, 384, 512]),
    st.sampled_from([192, 256, 320]),
)
def test_any_size_is_exact(
    small: Any, kind: str, stage: Any, length: int, batch: int, grid: tuple[int, int], page: int, tile: int
) -> None:
    """FLOPs, parameters, weights, cache: equal as integers in every layer. Bounds are for the released sizes."""
    views = None
    if stage == "page":
        views = ViewPlan.from_grid(grid, base_size=page, tile_size=tile)
        batch, length = 1, length + views.image_tokens
    point = Point(stage=stage, context_len=length, batch=batch, views=views)
    found = verify(small[kind], [point])
    assert not [check for *_, check in failures(found) if getattr(check, "quantity", "") not in BOUNDED]
