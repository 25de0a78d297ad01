"""The static analyser on the vendor's own code: every parameter mapped, stages equal at full size, weights not read."""

from pathlib import Path
from typing import Any

import attrs
import pytest

from modelmeter import DeepseekOCRModel, ModelMeterError, ViewPlan, plan_views
from modelmeter.core.cost import Cost
from modelmeter.live.analyser.analyser import DeepseekOCRStaticAnalyzer
from modelmeter.live.analyser.data import PARTS, StaticAnalysis
from modelmeter.live.analyser.stages import MODULES, listed_parameters
from modelmeter.live.verification.compare import BOUNDED

A4 = plan_views(1654, 2339)  # 2 x 3 tiles
VIEWS = ViewPlan.from_grid((2, 3), base_size=384, tile_size=256)


@pytest.fixture(scope="module", params=["eager", "flash"])
def full(request: pytest.FixtureRequest, checkpoint: Path) -> StaticAnalysis:
    """The released sizes on an A4 page, two decode steps."""
    analyser = DeepseekOCRStaticAnalyzer.from_folder(checkpoint, trust_remote_code=True, attention=request.param)
    return analyser.analyze(analyser.point(A4, decode_steps=2))


@pytest.fixture(scope="module")
def small(small_checkpoint: Path) -> DeepseekOCRStaticAnalyzer:
    """The small sizes."""
    return DeepseekOCRStaticAnalyzer.from_folder(small_checkpoint, trust_remote_code=True)


def test_the_released_sizes_are_equal(full: StaticAnalysis) -> None:
    assert full.ok
    assert [row.name for row in full.stages] == ["sam", "clip", "projector", "joining", "vision", *PARTS[4:], "run"]
    for row in full.stages:
        assert [check for check in row.checks if check.quantity not in BOUNDED and check.difference] == []
    parts = [row.recorded for row in full.stages if row.name in PARTS]
    assert sum(parts, Cost()) == full.stage("run").recorded


def test_parameters_by_stage(full: StaticAnalysis) -> None:
    counts = {stage: found.count for stage, found in full.weights.items() if not found.shared_with}
    assert counts["clip"] == 303_177_728  # the patch convolution that is never used among them
    assert sum(counts.values()) == 3_336_106_240
    assert full.tree.parameters == 3_336_106_240
    assert sum(found.num_bytes for found in full.weights.values() if not found.shared_with) == 6_672_212_480


def test_every_parameter_is_mapped_exactly_once(small: DeepseekOCRStaticAnalyzer) -> None:
    real = list(small.adapter.model.named_parameters())
    assert [each.real_path for each in small.parameters] == [name for name, _ in real]
    begins = [entry for entries in MODULES.values() for entry in entries]
    for _, path, _ in listed_parameters(real, small.adapter.rename):
        assert sum(f"{path}.".startswith(f"{entry}.") for entry in begins) == 1


def test_a_parameter_without_a_stage_is_named(small_checkpoint: Path) -> None:
    import torch

    from modelmeter.live.reference.vendor import VendorCheckpoint

    adapter = VendorCheckpoint(small_checkpoint, trust_remote_code=True)
    adapter.model.model.register_parameter("odd_one", torch.nn.Parameter(torch.zeros(3)))
    with pytest.raises(ModelMeterError, match=r"no stage for model\.odd_one of transformers 4\.46"):
        DeepseekOCRStaticAnalyzer(adapter)


def test_any_views_and_text(small: DeepseekOCRStaticAnalyzer) -> None:
    """Exact quantities at small sizes; the bounds of the others are for the released ones."""
    one_view = ViewPlan.from_grid((1, 1), base_size=384)
    for views, length in ((VIEWS, VIEWS.image_tokens + 10), (one_view, 90), (None, 50)):
        found = small.analyze(small.point(views, context_len=length, decode_steps=2))
        for row in found.stages:
            assert [check for check in row.checks if check.quantity not in BOUNDED and check.difference] == []
            assert all(each.check.ok for each in row.operators)


def test_experts_are_listed_together(small: DeepseekOCRStaticAnalyzer) -> None:
    found = small.analyze(small.point(context_len=50))
    nodes = {node.path: node for _, node in found.tree.walk()}
    gate = nodes["model.layers.1.mlp.experts.gate_proj"]
    assert gate.weights["weight"].copies == 8
    assert gate.parameters == 8 * 24 * 32  # experts, width, hidden
    assert gate.runs["prefill"].calls == 8 and gate.runs["decode"].calls == 2  # all experts; two for a token


def test_weights_in_the_folder_are_not_read(small_weights: Path) -> None:
    analyser = DeepseekOCRStaticAnalyzer.from_folder(small_weights, trust_remote_code=True)
    assert analyser.adapter.name.endswith("without data")
    assert analyser.analyze(analyser.point(context_len=50)).stage("prefill").recorded.counted_flops > 0


def test_pages_at_once_are_refused(small: DeepseekOCRStaticAnalyzer) -> None:
    with pytest.raises(ModelMeterError, match="encodes page by page"):
        small.analyze(small.point(VIEWS, context_len=200, batch_size=2))


def test_code_runs_with_leave_only(small_checkpoint: Path) -> None:
    with pytest.raises(ModelMeterError, match="--trust-remote-code"):
        DeepseekOCRStaticAnalyzer.from_folder(small_checkpoint)


def test_a_wrong_twin_is_found(small: DeepseekOCRStaticAnalyzer) -> None:
    def changed(**decoder: Any) -> DeepseekOCRModel:
        config = small.adapter.config
        config = attrs.evolve(config, decoder=attrs.evolve(config.decoder, **decoder))
        return DeepseekOCRModel.from_config(config, **attrs.asdict(small.adapter.conventions))

    wrong = DeepseekOCRStaticAnalyzer(small.adapter, changed(num_experts_per_tok=1))
    found = wrong.analyze(wrong.point(context_len=50))
    assert not found.ok
    (check,) = [x for x in found.stage("prefill").checks if x.quantity == "counted_flops"]
    assert check.difference == -2 * 50 * 3 * 2 * 32 * 24  # sparse layers, tokens, products of one expert of two
