"""Misuse of a model: an error that says what to do, and a model that is as before."""

from typing import Any

import numpy as np
import pytest
from support.staged import A4, DECODE, DECODER, DecoderStub, VisionStub, started

from modelmeter import DeepseekOCRModel, Layer, ModelMeterError, SyntheticKVCache
from modelmeter.core import ops
from modelmeter.core.tensor import Tensor
from modelmeter.models.deepseek_ocr.deepseek_v2 import DeepseekV2MLP


def state(model: DeepseekOCRModel) -> tuple[Any, ...]:
    cache = model.kv_cache
    lengths = None if cache is None else (cache.batch, cache.context_len, cache.decode_len)
    try:
        stage = (model.operation_mode, model.get_forward_cost(), model.simulate_run(decode_tokens=2))
    except ModelMeterError:
        stage = ()
    return (id(cache), lengths, model.views, stage)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model: model.start_decode(), r"start_decode\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.decode_one_token(), r"decode_one_token\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.extend_prefill(5), r"extend_prefill\(\) needs a KV cache: call start_prefill\("),
        (lambda model: model.start_vision(), r"start_vision\(\) needs views: call set_views\("),
        (lambda model: model.cost(), "needs a stage: call start_vision"),
        (lambda model: model.trace(), "needs a stage: call start_vision"),
        (lambda model: model.get_forward_cost(), "needs a stage: call start_vision"),
        (lambda model: model.operation_mode, "needs a stage: call start_vision"),
        (lambda model: model.simulate_run(decode_tokens=5), r"simulate_run\(\) needs a prefill: call start_prefill\("),
        (lambda model: model.simulate_run(), r"simulate_run\(\) needs decode_tokens"),
        (lambda model: model.start_prefill(), r"start_prefill\(\) needs context_len"),
        (lambda model: model.set_views((1, 1024)), r"set_views\(\) takes a ViewPlan"),
    ],
)
def test_wrong_order(call, message):
    model = DeepseekOCRModel.from_config()
    before = state(model)
    with pytest.raises(ModelMeterError, match=message):
        call(model)
    assert state(model) == before


@pytest.mark.parametrize("stage", ["vision", "prefill"])
def test_decode_one_token_outside_decode(stage):
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(913)
    if stage == "vision":
        model.start_vision()
    before = state(model)
    with pytest.raises(ModelMeterError, match=r"decode_one_token\(\) runs in decode: call start_decode\(\) first"):
        model.decode_one_token()
    assert state(model) == before


@pytest.mark.parametrize("size", [0, -1, 1.5, "12", True, np.array([3, 0]), np.array([]), np.array([1.5])], ids=str)
@pytest.mark.parametrize("stage", ["nothing", "vision", "prefill", "decode"])
def test_sizes_that_are_not_positive(size, stage):
    model = DeepseekOCRModel.from_config()
    if stage != "nothing":
        model.set_views(A4)
        model.start_prefill(950, 2)
        model.start_decode()
        model.decode_one_token()
    if stage == "vision":
        model.start_vision()
    if stage == "prefill":
        model.extend_prefill(5)
    calls = [
        lambda: model.start_prefill(size),
        lambda: model.start_prefill(950, size),
        lambda: model.configure_workload(size),
        lambda: model.configure_workload(950, size),
    ]
    if stage != "nothing":
        calls += [lambda: model.start_vision(size), lambda: model.extend_prefill(size)]
        if str(size) not in ("0", "[3 0]"):  # a run without decode steps is a prefill
            calls += [lambda: model.simulate_run(decode_tokens=size)]
    before = state(model)
    for call in calls:
        with pytest.raises(ModelMeterError):
            call()
        assert state(model) == before


def test_a_context_shorter_than_its_image_tokens():
    model = DeepseekOCRModel.from_config()
    model.set_views(A4)
    model.start_prefill(903)
    before = state(model)
    with pytest.raises(ModelMeterError, match="context_len 902 is shorter than the 903 image tokens"):
        model.start_prefill(902)
    with pytest.raises(ModelMeterError, match="context_len 100 is shorter than the 903 image tokens"):
        model.configure_workload(100, views=A4)
    with pytest.raises(ModelMeterError, match="shorter than the 903 image tokens"):
        model.start_prefill(np.array([2000, 902]))
    assert state(model) == before


@pytest.mark.parametrize(
    ("cache", "message"),
    [
        (SyntheticKVCache(1, 8, 128, 12, 50), "num_kv_heads 8"),
        (SyntheticKVCache(1, 10, 64, 12, 50), "head_dim 64"),
        (SyntheticKVCache(1, 10, 128, 11, 50), "11 layers"),
    ],
)
def test_a_cache_that_does_not_match(cache, message):
    model = started("decode", 100)
    before = state(model)
    for call in (lambda: model.start_prefill(10, 1, cache), lambda: model.start_decode(cache)):
        with pytest.raises(ModelMeterError, match=message):
            call()
        assert state(model) == before
        assert cache.total_len() == 50


def test_a_cache_of_another_batch():
    model, cache = started("decode", 100), SyntheticKVCache.from_config(DECODER, batch=2)
    before = state(model)
    with pytest.raises(ModelMeterError, match="batch 2"):
        model.start_prefill(10, 3, cache)
    assert state(model) == before
    assert cache.total_len() == 0


def test_decode_from_an_empty_cache():
    model = DeepseekOCRModel.from_config()
    with pytest.raises(ModelMeterError, match=r"empty KV cache: prefill it with start_prefill\(\)"):
        model.start_decode(SyntheticKVCache.from_config(DECODER))
    assert model.kv_cache is None


def test_a_cache_of_other_element_size():
    """The model caches bf16: a cache of fp32 or fp8 values is not its."""
    model = DeepseekOCRModel.from_config()
    with pytest.raises(ModelMeterError, match="bytes_per_value"):
        model.start_prefill(10, 1, SyntheticKVCache(1, 10, 128, 12, bytes_per_value=4))
    assert model.kv_cache is None


def test_a_model_without_a_decoder_or_without_vision():
    blind = DeepseekOCRModel.from_layers(None, DecoderStub(), 2)
    blind.set_views(A4)
    with pytest.raises(ModelMeterError, match=r"start_vision\(\) needs a vision part"):
        blind.start_vision()
    with pytest.raises(ModelMeterError, match=r"start_prefill\(\) with views needs a vision part"):
        blind.start_prefill(913)
    assert blind.kv_cache is None
    blind.set_views(None)
    blind.start_prefill(913)
    assert blind.cost().counted_flops == 2 * DECODE

    seeing = DeepseekOCRModel.from_layers(VisionStub(), [])
    seeing.set_views(A4)
    seeing.start_vision()
    before = seeing.cost()
    for call in (lambda: seeing.start_prefill(913), lambda: seeing.start_decode()):
        with pytest.raises(ModelMeterError, match="needs decoder layers"):
            call()
        assert seeing.operation_mode == "vision" and seeing.cost() == before and seeing.kv_cache is None


def test_from_layers_checks_its_numbers():
    with pytest.raises(ModelMeterError, match="num_decoder_layers must be positive"):
        DeepseekOCRModel.from_layers(None, DecoderStub())
    with pytest.raises(ModelMeterError, match="num_decoder_layers is 3, but 2 layers were given"):
        DeepseekOCRModel.from_layers(None, [DecoderStub(), DecoderStub()], 3)


def test_a_layer_without_forward_says_so():
    class Empty(Layer):
        """Nothing."""

    model = DeepseekOCRModel.from_layers(None, Empty(), 1)
    model.start_prefill(5)
    with pytest.raises(NotImplementedError, match="Empty needs a forward"):
        model.cost()
    whole = started("prefill", 5)
    assert whole.cost().counted_flops > 0  # the failed recording left nothing open


def test_unknown_conventions_are_named():
    for wrong, message in (
        ({"implementation": "torch"}, "implementation 'torch' is unknown"),
        ({"attention": "sdpa"}, "attention 'sdpa' is unknown"),
        ({"coverage": 65}, "coverage 65"),
        ({"coverage": "mean"}, "coverage 'mean'"),
        ({"coverage": -1}, "coverage -1"),
        ({"atention": "eager"}, "unknown convention 'atention'"),
    ):
        with pytest.raises(ModelMeterError, match=message):
            DeepseekOCRModel.from_config(**wrong)


def test_tensors_of_a_recording_are_useless_after_it():
    kept = []

    class Keeps(Layer):
        def forward(self, x: Tensor, *args: Any) -> Tensor:
            kept.append(x)
            return ops.unary("add", x)

    model = DeepseekOCRModel.from_layers(None, Keeps(), 1)
    model.start_prefill(5)
    assert model.cost().cuda_flops > 0
    with pytest.raises(ModelMeterError, match="inside a recording only"):
        ops.unary("add", kept[0])


def test_costs_cannot_be_asked_inside_a_forward():
    class Asks(Layer):
        def forward(self, x: Tensor, *args: Any) -> Tensor:
            DeepseekV2MLP(1280, 6848).cost()
            return x

    model = DeepseekOCRModel.from_layers(None, Asks(), 1)
    model.start_prefill(5)
    with pytest.raises(ModelMeterError, match=r"forward\(\) must not ask for costs"):
        model.cost()
    assert started("prefill", 5).cost().counted_flops > 0


@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_given_layers_bring_their_conventions(implementation, attention):
    """A model of twins counts what the whole model's layers count; others than theirs are refused."""
    whole = DeepseekOCRModel.from_config(implementation=implementation, attention=attention)
    layers = whole.network.model.layers
    model = DeepseekOCRModel.from_layers(None, layers)
    assert model.conventions == whole.conventions
    for each in (whole, model):
        each.start_prefill(100, 2)
    decoder = [each.trace().by_layer() for each in (whole, model)]
    assert decoder[0]["model.layers.3"] == decoder[1]["model.layers.3"]
    with pytest.raises(ModelMeterError, match="other conventions"):
        DeepseekOCRModel.from_layers(None, layers, causal="triangle")
