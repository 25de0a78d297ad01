"""`DeepseekOCRStaticAnalyzer`: recorded stages beside analytic ones, equal where they have to be, and adding up."""

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from support.small import CONTEXT, small_config

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel, ModelMeterError
from modelmeter.core import ops
from modelmeter.core.cost import Cost
from modelmeter.core.tensor import Tensor
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer, points_of
from modelmeter.live.analyser.data import PARTS, AnalysisPoint, StaticAnalysis
from modelmeter.live.verification.compare import BOUNDED
from modelmeter.live.verification.verify import Point, passes
from modelmeter.models.deepseek_ocr import clip

from .conftest import A4, SMALL_VIEWS, STEPS

KV_TOKEN = 2 * 12 * 10 * 128 * 2  # bytes: keys and values, layers, heads, width, bf16


def cost_of(parts: Iterator[Cost]) -> Cost:
    """Their sum."""
    return sum(parts, Cost())


# The released sizes


def test_every_exact_quantity_is_equal(page: StaticAnalysis) -> None:
    assert page.ok
    for row in page.stages:
        assert row.recorded.counted_flops == row.analytic.counted_flops
        assert [check for check in row.checks if check.quantity not in BOUNDED and check.difference] == []
        assert [each.check for each in row.operators if each.check.measured_flops != each.check.analytic_flops] == []


def test_flops_by_stage(page: StaticAnalysis) -> None:
    """The projector and the head by hand; what joins the parts is no product."""
    flops = {row.name: row.recorded.counted_flops for row in page.stages}
    tokens = 16 * 16 + 6 * 10 * 10  # of the global view and of six tiles: no newline, no separator
    assert flops["projector"] == 2 * tokens * 2048 * 1280
    assert flops["joining"] == 0
    assert flops["vision"] == flops["sam"] + flops["clip"] + flops["projector"]
    (head,) = [node for _, node in page.tree.walk() if node.path == "lm_head"]
    assert head.runs["prefill"].recorded.counted_flops == 2 * 913 * 1280 * 129_280
    assert head.runs["decode"].recorded.counted_flops == 2 * 1280 * 129_280


def test_memory_by_stage(page: StaticAnalysis) -> None:
    checks = {row.name: {check.quantity: check for check in row.checks} for row in page.stages}
    assert checks["prefill"]["kv_cache_bytes"].measured == 913 * KV_TOKEN
    assert checks["decode"]["kv_cache_bytes"].measured == 914 * KV_TOKEN
    assert checks["joining"].keys() & set(BOUNDED) == set()
    assert checks["vision"]["peak_bytes"].measured >= checks["sam"]["peak_bytes"].measured
    weights = page.weights["sam"].num_bytes
    assert checks["sam"]["weight_read_bytes"].measured >= 2 * weights - 2**20  # for the tiles, and for the page


def test_weights_that_are_read(page: StaticAnalysis) -> None:
    """Joining reads the newline for tiles and page, and the separator once."""
    joining = page.stage("joining").recorded
    assert joining.weight_bytes == 3 * 1280 * 2
    assert page.stage("projector").recorded.weight_bytes == 2 * (2048 * 1280 + 1280) * 2  # tiles, page


@pytest.mark.parametrize("name", ["page", "analysis"])
def test_stages_add_up_to_what_ran(request: pytest.FixtureRequest, name: str) -> None:
    """Recorded again as whole passes: nothing is counted twice, nothing is left out."""
    found: StaticAnalysis = request.getfixturevalue(name)
    analyser: DeepseekOCRStaticAnalyzer = request.getfixturevalue("released" if name == "page" else "small")
    points = [point for point in points_of(found.point) if point.stage != "vision"]
    whole = [each.measured for each in passes(analyser.adapter, points, analyser.twin)]
    parts = [row for row in found.stages if row.name in PARTS]
    assert [row.name for row in parts] == list(PARTS)
    ran = cost_of(trace.total for trace in whole)
    assert cost_of(row.recorded for row in parts) == ran == found.stage("run").recorded
    assert cost_of(row.analytic for row in parts) == found.stage("run").analytic
    vision = [row for row in parts if row.name in ("sam", "clip", "projector", "joining")]
    assert cost_of(row.recorded for row in vision) == found.stage("vision").recorded
    assert cost_of(trace.total for trace in whole[1:]) == found.stage("decode").recorded


@pytest.mark.parametrize("name", ["page", "analysis"])
def test_operators_add_up_to_the_stage(request: pytest.FixtureRequest, name: str) -> None:
    found: StaticAnalysis = request.getfixturevalue(name)
    for row in found.stages:
        assert sum(each.check.measured_flops for each in row.operators) == row.recorded.counted_flops
        assert sum(each.check.measured_bytes for each in row.operators) == row.recorded.io_bytes
        assert sum(each.bytes_share for each in row.operators) == pytest.approx(1)
        if row.recorded.counted_flops:
            assert sum(each.flops_share for each in row.operators) == pytest.approx(1)
    run = {each.check.name: each.check.measured_calls for each in found.stage("run").operators}
    parts = [each.check for row in found.stages if row.name in PARTS for each in row.operators]
    assert run == {name: sum(check.measured_calls for check in parts if check.name == name) for name in run}


# Other ways to run


@pytest.mark.parametrize(
    ("attention", "experts"), [("eager", "batched_mm"), ("flash", "eager"), ("flash", "grouped_mm")]
)
def test_other_kernels(attention: str, experts: str) -> None:
    config = DeepseekOCRConfig.from_hf(small_config())
    analyser = DeepseekOCRStaticAnalyzer.from_config(config, attention=attention, experts=experts)
    found = analyser.analyze(analyser.point(SMALL_VIEWS, context_len=CONTEXT))
    exact = [check for row in found.stages for check in row.checks if check.quantity not in BOUNDED]
    assert exact and all(check.ok for check in exact)
    left_out = "weight_read_bytes" not in {check.quantity for check in found.stage("prefill").checks}
    assert left_out == (experts == "batched_mm")  # it gathers a copy of the weights for every row
    kinds = {each.category for each in found.stage("prefill").operators}
    assert ("attention" in kinds) == (attention == "flash")


def test_text_alone_has_no_vision(small: DeepseekOCRStaticAnalyzer) -> None:
    found = small.analyze(small.point(context_len=CONTEXT, batch_size=2))
    assert [row.name for row in found.stages] == ["prefill", "decode", "run"]
    assert found.ok
    assert list(found.weights) == ["sam", "clip", "projector", "prefill", "decode"]  # held all the same


def test_several_pages_at_once(small: DeepseekOCRStaticAnalyzer) -> None:
    one, two = (small.analyze(small.point(SMALL_VIEWS, context_len=CONTEXT, batch_size=n)) for n in (1, 2))
    assert two.ok
    assert two.stage("vision").recorded.counted_flops == 2 * one.stage("vision").recorded.counted_flops
    assert two.stage("sam").recorded.weight_bytes < 2 * one.stage("sam").recorded.weight_bytes


def test_steps_after_another_length(small: DeepseekOCRStaticAnalyzer) -> None:
    """Decode is the sum of its steps, each after one more token than the one before."""
    found = small.analyze(small.point(context_len=CONTEXT, cached=100, decode_steps=STEPS))
    singles = [small.analyze(small.point(context_len=CONTEXT, cached=100 + i)) for i in range(STEPS)]
    assert found.stage("decode").recorded.counted_flops == sum(
        each.stage("decode").recorded.counted_flops for each in singles
    )
    token = 2 * 2 * 2 * 64 * 2  # bytes: keys and values, layers, heads, width, bf16
    (held,) = [check for check in found.stage("decode").checks if check.quantity == "kv_cache_bytes"]
    assert (held.measured, held.analytic) == ((100 + STEPS) * token, (100 + STEPS) * token)


def test_asking_twice_changes_nothing(small: DeepseekOCRStaticAnalyzer, analysis: StaticAnalysis) -> None:
    again = small.analyze(analysis.point)
    assert (again.stages, again.weights, again.tree) == (analysis.stages, analysis.weights, analysis.tree)


# What cannot be


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"context_len": 0}, "context_len must be positive, not 0"),
        ({"cached": -1}, "cached must be positive"),
        ({"batch_size": 10**5}, "batch_size must be at most 10,000"),
        ({"decode_steps": 10**5}, "decode_steps must be at most 10,000"),
        ({"context_len": 10**6, "batch_size": 2}, "context_len times batch_size must be at most 1,000,000"),
        ({"context_len": 902, "views": A4}, "902 tokens does not hold the 903 image tokens"),
    ],
)
def test_sizes_that_cannot_be(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelMeterError, match=message):
        AnalysisPoint(**{"context_len": 10, "cached": 10, **sizes})


def test_the_point_of_a_page(small: DeepseekOCRStaticAnalyzer) -> None:
    point = small.point(A4, prompt_tokens=7)
    assert (point.context_len, point.cached) == (903 + 7, 903 + 7)
    assert points_of(attrs.evolve(point, decode_steps=2)) == [
        Point(stage="vision", views=A4),
        Point(stage="page", context_len=910, views=A4),
        Point(stage="decode", context_len=910),
        Point(stage="decode", context_len=910, step=1),
    ]


# A twin that is wrong


def wrong(analyser: DeepseekOCRStaticAnalyzer, **decoder: Any) -> DeepseekOCRStaticAnalyzer:
    """The same real model with a twin of another decoder."""
    config = analyser.adapter.config
    config = attrs.evolve(config, decoder=attrs.evolve(config.decoder, **decoder))
    twin = DeepseekOCRModel.from_config(config, **attrs.asdict(analyser.adapter.conventions))
    return DeepseekOCRStaticAnalyzer(analyser.adapter, twin)


def test_an_expert_too_few_is_found_in_its_stages(small: DeepseekOCRStaticAnalyzer) -> None:
    """Each token through one expert instead of two."""
    analyser = wrong(small, num_experts_per_tok=1)
    found = analyser.analyze(analyser.point(SMALL_VIEWS, context_len=CONTEXT))
    assert not found.ok
    assert {row.name for row in found.stages if not row.ok} == {"prefill", "decode", "run"}
    missing = CONTEXT * 3 * 2 * 128 * 64  # tokens, gate up and down, of one expert
    sparse = found.config.decoder.mlp_layer_types.count("sparse")
    assert found.stage("prefill").checks[0].difference == -sparse * missing
    assert [path for node in nodes_off(found) for path in node.paths if path.endswith("mlp.experts")]


def test_other_weights_are_found(small: DeepseekOCRStaticAnalyzer) -> None:
    analyser = wrong(small, n_routed_experts=9)
    found = analyser.analyze(analyser.point(context_len=CONTEXT))
    sparse = found.config.decoder.mlp_layer_types.count("sparse")
    more = sparse * (3 * 128 * 64 + 128)  # an expert's three products, and the router's row
    assert found.weights["prefill"].analytic_count - found.weights["prefill"].count == more
    assert not found.weights["prefill"].ok and found.weights["sam"].ok
    assert not found.ok


def test_a_part_of_vision_is_found_apart(
    small: DeepseekOCRStaticAnalyzer, analysis: StaticAnalysis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLIP with twenty copies too many: SAM and the projector are as they were, and vision as a whole is in bounds."""
    forward = clip.VitModel.forward

    def copies(self: clip.VitModel, features: Tensor) -> Tensor:
        for _ in range(20):
            features = ops.clone(features)
        return forward(self, features)

    monkeypatch.setattr(clip.VitModel, "forward", copies)
    analyser = DeepseekOCRStaticAnalyzer(small.adapter)
    found = analyser.analyze(analysis.point)
    more = 20 * 2 * (8 * 8 + 2 * 4 * 4) * 64 * 2  # read and written: page of 512 px, two tiles of 256, channels, bf16
    before, after = (each.stage("clip").analytic.activation_bytes for each in (analysis, found))
    assert after - before == more
    assert {row.name for row in found.stages if not row.ok} == {"clip"}
    assert not found.ok


def nodes_off(found: StaticAnalysis) -> list[Any]:
    """Modules that differ."""
    return [node for _, node in found.tree.walk() if any(run.ok is False for run in node.runs.values())]
