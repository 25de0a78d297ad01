"""The cache of a model, runs of prefill and decode steps, chunks, and sweeps over their sizes."""

import numpy as np
import pytest
from support.staged import A4, DECODER, started

import modelmeter as mm
from modelmeter import DeepseekOCRModel, SyntheticKVCache


@pytest.mark.parametrize("batch", [1, 3])
def test_the_cache_grows_by_one_token_a_step(batch):
    model = DeepseekOCRModel.from_config()
    cache = model.start_prefill(100, batch)
    model.start_decode()
    for decoded in range(5):
        size = 61_440 * batch * (100 + decoded)
        assert model.kv_cache_bytes() == cache.size_bytes() == size
        assert model.get_forward_cost().kv_gb == model.forward_memory_kvcache() == cache.size_gb() == size / 2**30
        assert (cache.total_len(), cache.context_len, cache.decode_len) == (100 + decoded, 100, decoded)
        model.decode_one_token()


def test_each_step_costs_one_more_key():
    """12 layers, scores and values of one more token: 2 * 2 * 10 * 128 FLOPs each."""
    model = started("decode", 100, 3)
    before = model.cost()
    model.decode_one_token()
    assert model.cost().counted_flops - before.counted_flops == 12 * 2 * 2 * 10 * 128 * 3


def test_start_prefill_adopts_a_cache():
    model = DeepseekOCRModel.from_config()
    cache = SyntheticKVCache.from_config(DECODER, batch=2)
    assert model.start_prefill(100, 2, kv_cache=cache) is cache is model.kv_cache
    assert cache.total_len() == 100
    model.start_decode()
    model.decode_one_token()
    assert cache.total_len() == 101
    assert model.start_prefill(50, 2) is cache  # its own; it starts over
    assert (cache.total_len(), cache.decode_len) == (50, 0)
    assert model.start_prefill(50, 1) is not cache  # another batch needs another
    assert cache.total_len() == 50


def test_prefill_into_a_filled_cache_costs_that_of_an_empty_past():
    model = DeepseekOCRModel.from_config()
    filled = SyntheticKVCache.from_config(DECODER)
    filled.context_len, filled.decode_len = 700, 7
    model.start_prefill(100, kv_cache=filled)
    assert model.cost() == started("prefill", 100).cost()
    assert filled.total_len() == 100


def test_decode_from_a_given_cache():
    model = DeepseekOCRModel.from_config()
    cache = SyntheticKVCache.from_config(DECODER, batch=2)
    cache.context_len, cache.decode_len = 100, 5
    model.start_decode(cache)
    assert model.cost() == started("decode", 105, 2).cost()
    assert model.kv_cache_bytes() == 61_440 * 2 * 105


def test_configure_workload_sets_defaults():
    model, other = DeepseekOCRModel.from_config(), DeepseekOCRModel.from_config()
    model.configure_workload(context_len=913, batch_size=2, views=A4, decode_tokens=20)
    other.set_views(A4)
    other.start_prefill(913, 2)
    assert model.views == A4
    assert model.simulate_run() == other.simulate_run(decode_tokens=20)
    model.start_prefill()
    assert model.get_forward_cost() == other.get_forward_cost()
    assert model.simulate_run() == other.simulate_run(decode_tokens=20)


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("cache", ["concat", "in_place"])
@pytest.mark.parametrize("tokens", [1, 2, 37])
def test_a_run_is_its_prefill_and_its_steps(attention, cache, tokens):
    model = DeepseekOCRModel.from_config(attention=attention, cache=cache)
    model.set_views(A4)
    model.start_prefill(913, 2)
    prefill = model.get_forward_cost()
    run = model.simulate_run(decode_tokens=tokens)
    assert run.prefill == prefill
    model.start_decode()
    decode, peaks = mm.Cost(), []
    for _ in range(tokens):
        decode += model.cost()
        peaks.append(model.activation_peak_bytes())
        model.decode_one_token()
    assert run.decode.cost == decode
    assert run.decode.activations_bytes == max(peaks)
    assert run.decode.kv_cache_bytes == model.kv_cache_bytes() == 61_440 * 2 * (913 + tokens)
    assert run.total.cost == prefill.cost + decode
    assert run.prefill_flops_tflops == prefill.cost.flops / 1e12
    assert run.decode_flops_tflops == decode.flops / 1e12
    assert run.decode_tokens == tokens


def test_a_run_without_decode_is_the_prefill():
    model = started("prefill", 100)
    run = model.simulate_run(decode_tokens=0)
    assert run.total.cost == run.prefill.cost == model.cost()
    assert run.decode.cost == mm.Cost()
    assert run.decode.kv_cache_bytes == run.prefill.kv_cache_bytes


def test_a_run_over_chunks_counts_each_chunk():
    model = DeepseekOCRModel.from_config()
    costs = []
    model.start_prefill(100)
    costs.append(model.cost())
    for tokens in (28, 1, 300):
        model.extend_prefill(tokens)
        costs.append(model.cost())
    run = model.simulate_run(decode_tokens=3)
    assert run.prefill.cost == costs[0] + costs[1] + costs[2] + costs[3]
    assert run.decode.kv_cache_bytes == 61_440 * (429 + 3)


def test_chunks_do_the_linear_work_of_one_prefill_and_a_causal_part_of_the_scores():
    """Chunks of one token, as the triangle says: scores of 1 + 2 + ... + n keys instead of n * n."""
    whole = started("prefill", 20, causal="triangle", elementwise=False)
    model = DeepseekOCRModel.from_config(elementwise=False)
    model.start_prefill(1)
    tensor_flops = model.cost().tensor_flops
    for _ in range(19):
        model.extend_prefill(1)
        tensor_flops += model.cost().tensor_flops
    assert tensor_flops == whole.cost().tensor_flops


def whole_numbers(cost: mm.StageCost, i: int | None = None) -> list[int]:
    """All exact numbers of a stage's cost but the expected weight reads, or element `i` of each."""
    values = [cost.cost.counted_flops, cost.cost.tensor_flops, cost.cost.cuda_flops, cost.cost.activation_read_bytes]
    values += [cost.cost.activation_write_bytes, cost.cost.kv_bytes, cost.activations_bytes, cost.kv_cache_bytes]
    return values if i is None else [int(np.broadcast_to(value, (9,))[i]) for value in values]


def test_a_sweep_of_runs_is_each_run():
    """Also a run of no decode steps, also after a prefill of one token."""
    contexts = np.array([1, 1, 1, 2, 2, 2, 913, 913, 913])
    tokens = np.array([0, 1, 9, 0, 1, 9, 0, 1, 800])
    model = DeepseekOCRModel.from_config()
    model.start_prefill(contexts)
    swept = model.simulate_run(decode_tokens=tokens)
    for i, (context, number) in enumerate(zip(contexts.tolist(), tokens.tolist(), strict=True)):
        single = started("prefill", context).simulate_run(decode_tokens=number)
        assert whole_numbers(swept.prefill, i) == whole_numbers(single.prefill)
        assert whole_numbers(swept.decode, i) == whole_numbers(single.decode)
        assert whole_numbers(swept.total, i) == whole_numbers(single.total)


def test_a_sweep_of_prefills_is_each_prefill():
    """A sweep over contexts gives each context's own cost."""
    contexts = np.array([5, 100, 913])
    model = DeepseekOCRModel.from_config()
    model.start_prefill(contexts)
    swept = model.cost()
    for i, context in enumerate(contexts):
        single = started("prefill", int(context)).cost()
        assert swept.counted_flops[i] == single.counted_flops
        assert swept.kv_bytes[i] == single.kv_bytes
        assert swept.activation_bytes[i] == single.activation_bytes
