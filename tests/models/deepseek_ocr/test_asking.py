"""Asking changes nothing, and nothing is remembered of earlier sizes."""

from typing import Any

import pytest
from support.staged import EACH_IMPLEMENTATION, started

import modelmeter as mm
from modelmeter import DeepseekOCRModel


def questions(model: DeepseekOCRModel) -> dict[str, Any]:
    asked = {name: getattr(model, name)() for name in dir(model) if name.startswith(("forward_", "backward_"))}
    return asked | {
        "cost": model.cost(),
        "cost without elementwise": model.cost(elementwise=False),
        "backward": model.backward_cost(),
        "frozen": model.backward_cost(frozen_weights=True),
        "forward": model.get_forward_cost(),
        "get_backward": model.get_backward_cost(),
        "peak": model.activation_peak_bytes(),
        "saved": model.saved_bytes(),
        "weights": (model.parameter_bytes(), model.parameter_count()),
        "kv": model.kv_cache_bytes(),
        "layers": model.trace().by_layer(),
        "rows": model.trace().by_layer(3),
        "operators": model.trace().by_op(),
        "number of operators": len(model.trace()),
        "parts": model.part_costs(),
        "trace with gradients": model.trace(grad=True).backward,
    }


@EACH_IMPLEMENTATION
@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
def test_asking_twice_changes_nothing(implementation, stage):
    model = started(stage, implementation=implementation)
    cache = model.kv_cache
    before = (model.operation_mode, model.views, cache and (cache.context_len, cache.decode_len))
    first = questions(model)
    if stage != "vision":
        model.simulate_run(decode_tokens=5)
        mm.formula(model, "flops", stage="decode")
        assert model.simulate_run(decode_tokens=5) == model.simulate_run(decode_tokens=5)
    assert questions(model) == first
    assert (model.operation_mode, model.views, cache and (cache.context_len, cache.decode_len)) == before
    assert model.kv_cache is cache
    assert questions(started(stage, implementation=implementation)) == first


def test_a_model_remembers_nothing_of_earlier_sizes():
    """Whatever was asked before, the same stage has the same cost: recordings are remembered by shape."""
    model = DeepseekOCRModel.from_config(implementation="transformers")
    for context, batch in [(100, 1), (100, 2), (1, 1), (913, 4), (2, 1), (100, 1)]:
        model.start_prefill(context, batch)
        assert questions(model) == questions(started("prefill", context, batch, implementation="transformers"))
        model.start_decode()
        assert questions(model) == questions(started("decode", context, batch, implementation="transformers"))
