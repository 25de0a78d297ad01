"""Studies of the decoder: lengths, KV heads, experts."""

import attrs
import pytest

from modelmeter import DeepseekOCRConfig, DeepseekOCRModel, ModelMeterError
from modelmeter.models.deepseek_ocr.config import DecoderConfig
from modelmeter.sweeps.studies import decoder

from .conftest import TOKEN


def test_lengths(setup, agrees):
    datasets = decoder.seq_len(setup, [256, 1024], decode_steps=4, batch_size=2).datasets
    assert datasets["prefill"]["kv_cache_bytes"].sel(attention="eager").values.tolist() == [
        2 * 256 * TOKEN,
        2 * 1024 * TOKEN,
    ]
    assert datasets["decode"]["kv_cache_bytes"].sel(attention="eager").values.tolist() == [
        2 * (256 + 4) * TOKEN,
        2 * (1024 + 4) * TOKEN,
    ]
    assert datasets["prefill"]["image_tokens_total"] == 0
    model = DeepseekOCRModel.from_config(attention="flash")
    model.start_prefill(1024, 2)
    agrees(datasets["prefill"], model, context_len=1024, attention="flash")


def test_the_usual_lengths(setup):
    dataset = decoder.seq_len(setup).datasets["decode"]
    assert dataset["context_len"].values.tolist() == [256, 512, 1024, 2048, 4096]
    assert dataset.coords["decode_tokens"] == 16


def test_kv_heads_are_the_divisors_of_the_heads(setup, agrees):
    datasets = decoder.kv_heads(setup).datasets
    assert datasets["decode"]["num_key_value_heads"].values.tolist() == [1, 2, 5, 10]  # of 10 heads
    held = datasets["decode"]["kv_cache_bytes"].sel(attention="eager").values.tolist()
    assert held == [1024 * TOKEN * heads // 10 for heads in (1, 2, 5, 10)]
    config = DeepseekOCRConfig(decoder=DecoderConfig(num_key_value_heads=2))
    model = DeepseekOCRModel.from_config(config)
    model.start_prefill(1024)
    agrees(datasets["prefill"], model, num_key_value_heads=2, attention="eager")
    model.start_decode()
    agrees(datasets["decode"], model, num_key_value_heads=2, attention="eager")


def test_experts(setup, agrees):
    asked = {"top_k": [2, 6], "numbers": [8, 64], "coverages": ["max", "min", 5], "context_lens": [2]}
    datasets = decoder.experts(attrs.evolve(setup, attention=("eager",)), **asked).datasets
    dims = {"num_experts_per_tok": 2, "n_routed_experts": 2, "coverage": 3}
    assert dict(datasets["prefill"].sizes) == dims
    config = DeepseekOCRConfig(decoder=DecoderConfig(num_experts_per_tok=2, n_routed_experts=8))
    model = DeepseekOCRModel.from_config(config, coverage=5)
    model.start_prefill(2)
    agrees(datasets["prefill"], model, num_experts_per_tok=2, n_routed_experts=8, coverage="5")
    read = datasets["decode"]["weight_read_bytes"].sel(n_routed_experts=64, coverage="min")
    expert = 3 * 1280 * 896 * 2  # gate, up and down of bf16
    assert int(read.sel(num_experts_per_tok=6) - read.sel(num_experts_per_tok=2)) == 11 * 4 * expert  # sparse layers


def test_what_cannot_be(setup):
    with pytest.raises(ModelMeterError, match="num_key_value_heads 3"):
        decoder.kv_heads(setup, [3])
    given = DeepseekOCRModel.from_layers(None, setup.model.network.model.layers[0], 1)
    with pytest.raises(ModelMeterError, match="from a configuration"):
        decoder.kv_heads(attrs.evolve(setup, model=given))
