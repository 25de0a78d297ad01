"""A deliberate error in a twin is found, and the layer that has it is named."""

import attrs
import pytest

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel
from modelmeter.core import ops
from modelmeter.live.reference.transformers5 import UnlimitedOcr
from modelmeter.live.verification.real_run import verify_real
from modelmeter.live.verification.verify import Point, Verification, verify
from modelmeter.models.deepseek_ocr import deepseek_v2, llama, sam
from modelmeter.models.deepseek_ocr.views import plan_views

PAGE = plan_views(1024, 1024, mode="base")
POINTS = {
    "vision": Point(stage="vision", views=PAGE),
    "prefill": Point(stage="prefill", context_len=300),
    "decode": Point(stage="decode", context_len=300),
}


@pytest.fixture(scope="module")
def released():
    return UnlimitedOcr(DeepseekOCRConfig())


def found_in(verification: Verification) -> dict[str, set[str]]:
    """The layer classes that fail, each with its quantities."""
    return {
        row.layer or "the whole": {check.quantity for check in row.checks if not check.ok}
        for comparison in verification.comparisons
        for row in comparison.rows
        if not row.ok
    }


@pytest.mark.parametrize("stage", POINTS)
def test_without_an_error_nothing_is_found(released, stage):
    assert found_in(verify(released, [POINTS[stage]])) == {}


def test_an_expert_too_few(released, monkeypatch):
    """Each token through five experts instead of six."""
    config = released.config
    fewer = attrs.evolve(config, decoder=attrs.evolve(config.decoder, num_experts_per_tok=5))
    twin = DeepseekOCRModel.from_config(fewer, **attrs.asdict(released.conventions))
    found = found_in(verify(released, [POINTS["prefill"]], twin))
    assert "counted_flops" in found["Experts"]
    assert "LlamaAttention" not in found


def test_weights_of_one_expert_for_all(released, monkeypatch):
    """The traffic of the experts reached, not of one: the error that made decode look compute-bound elsewhere."""
    monkeypatch.setattr(deepseek_v2, "experts_hit", lambda *_: 1)
    found = found_in(verify(released, [POINTS["decode"]]))
    assert found["Experts"] >= {"weight_read_bytes"}
    assert "counted_flops" not in found["Experts"]


def test_a_window_not_padded(released, monkeypatch):
    """Projections and attention on the tokens of the image alone."""
    windows = (64 // 14) ** 2  # of 64 x 64 patches, without those at the edge
    monkeypatch.setattr(sam.Block, "_partition", lambda self, x: ops.clone(x.narrow(windows, 14, 14, 768)))
    monkeypatch.setattr(sam.Block, "_unpartition", lambda self, x, grid: ops.clone(x.narrow(*grid)))
    found = found_in(verify(released, [POINTS["vision"]]))
    assert {"counted_flops", "activation_bytes"} <= found["Attention"] | found["Block"]
    assert "NoTPTransformerBlock" not in found


def test_a_missing_copy_of_the_bias(released, monkeypatch):
    """SAM's relative positions added as they are, where the real code copies them first."""
    real_clone = ops.clone

    def no_copy_of_scores(x, shape=None, *, when=1):
        square = shape is not None and len(shape) == 3 and shape[1] == shape[2]
        return x.view(*shape) if square else real_clone(x, shape, when=when)

    monkeypatch.setattr(ops, "clone", no_copy_of_scores)
    found = found_in(verify(released, [POINTS["vision"]]))
    assert found["Attention"] == {"activation_bytes"}
    assert "NoTPAttention" not in found


def test_a_cache_that_is_not_read(released, monkeypatch):
    """Attention of the new tokens alone."""
    attend = llama.LlamaAttention._attend

    def of_the_new_token(self, q, k, v, mask, groups, **kwargs):
        return attend(self, q, k.narrow(*q.shape), v.narrow(*q.shape), mask.narrow(1, 1, 1, 1), groups, **kwargs)

    monkeypatch.setattr(llama.LlamaAttention, "_attend", of_the_new_token)
    found = found_in(verify(released, [POINTS["decode"]]))
    assert {"counted_flops", "kv_traffic_bytes"} <= found["LlamaAttention"]


def test_a_key_cached_once_instead_of_key_and_value(released, monkeypatch):
    from modelmeter.core.kv_cache import PastKV

    monkeypatch.setattr(PastKV, "update", lambda self, key, value: (self._extend(key), value))
    found = found_in(verify(released, [POINTS["prefill"]]))
    assert {"kv_cache_bytes", "kv_traffic_bytes"} <= found["LlamaAttention"]


def test_a_layer_without_its_bias(released):
    config = released.config
    twin = DeepseekOCRModel.from_config(
        attrs.evolve(config, sam=attrs.evolve(config.sam, qkv_bias=False)), **attrs.asdict(released.conventions)
    )
    found = found_in(verify(released, [POINTS["vision"]], twin))
    assert {"parameters", "parameter_bytes", "weight_read_bytes"} <= found["Attention"]


def test_a_tensor_held_too_long(released, monkeypatch):
    """A peak is about lifetimes: the feed-forward's input kept through its own successors."""
    forward = deepseek_v2.DeepseekV2MLP.forward

    def keeps(self, x):
        copies = [ops.clone(x) for _ in range(8)]
        out = forward(self, x)
        del copies
        return out

    monkeypatch.setattr(deepseek_v2.DeepseekV2MLP, "forward", keeps)
    found = found_in(verify(released, [POINTS["prefill"]]))
    assert "peak_bytes" in found["DeepseekV2MLP"]


def test_a_module_with_another_name(monkeypatch):
    """A module that is renamed there is not compared, and that is not passed over."""
    import modelmeter.live.reference.transformers5 as reference

    names = reference.from_transformers
    monkeypatch.setattr(reference, "from_transformers", lambda path: names(path).replace("self_attn", "attention"))
    (found,) = verify(UnlimitedOcr(DeepseekOCRConfig()), [POINTS["decode"]]).comparisons
    assert not found.ok and all(row.ok for row in found.rows)
    assert "model.layers.0.attention (real)" in found.unmatched
    assert "model.layers.11.self_attn.q_proj (twin)" in found.unmatched


def test_a_step_that_does_not_move(monkeypatch):
    """The twin that decodes along with a real run."""
    monkeypatch.setattr(DeepseekOCRModel, "decode_one_token", lambda self: None)
    *_, first, second = verify_real("eager", 2).comparisons
    assert first.ok
    assert {check.quantity for check in second.total.checks if not check.ok} == {"counted_flops", "kv_cache_bytes"}
