"""A small model with real tensors on the CPU, run by its own `generate`."""

import pytest

from modelmeter import ModelMeterError
from modelmeter.live.verification.cross_check import cross_check
from modelmeter.live.verification.real_run import SMALL, TEXT_TOKENS, VIEWS, verify_real

STEPS = 3


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("batch", [1, 2])
def test_every_pass_of_generate(attention, batch):
    found = verify_real(attention, STEPS, batch)
    assert found.ok
    assert [comparison.point.stage for comparison in found.comparisons] == ["vision", "prefill", *["decode"] * STEPS]
    decoder = SMALL.decoder
    a_token = batch * 2 * decoder.num_hidden_layers * decoder.hidden_size * 2  # keys and values, bf16
    for step, comparison in enumerate(found.comparisons[1:]):
        cached = VIEWS.image_tokens + TEXT_TOKENS + step
        held = comparison.total.check("kv_cache_bytes")
        assert held.measured == held.analytic == cached * a_token


def test_experts_really_reached():
    prefill, decode = verify_real("eager", 1, 2).comparisons[1:]
    layers = SMALL.decoder.mlp_layer_types.count("sparse")
    for routing in (prefill.routing, decode.routing):
        assert len(routing.hit) == layers
        assert all(SMALL.decoder.num_experts_per_tok <= hit <= routing.num_experts for hit in routing.hit)
    experts, top_k = SMALL.decoder.n_routed_experts, SMALL.decoder.num_experts_per_tok
    assert decode.routing.expected == pytest.approx(experts * (1 - (1 - top_k / experts) ** 2))


def test_no_steps_is_a_prefill():
    assert [c.point.stage for c in verify_real("eager", 0).comparisons] == ["vision", "prefill"]


def test_a_wrong_number_of_steps():
    with pytest.raises(ModelMeterError, match="decode_steps"):
        verify_real("eager", -1)


def test_fvcore_counts_what_its_conventions_make_of_ours():
    """Its own traced graph, half our FLOPs: norms, SDPA and einsum's four digits aside, equal."""
    found = cross_check(SMALL, side=256)
    assert all(row.ok for row in found)
    equal = {row.operator for row in found if row.fvcore == row.ours}
    assert equal == {"conv", "linear", "matmul"}
    assert {row.operator for row in found} == equal | {"einsum", "layer_norm", "attention"}
