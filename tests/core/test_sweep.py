"""Sweeps and formulas: an element of an array, a formula with numbers put in and the integer model say the same.

The one quantity that is not whole is what experts' weights are read, an expected value: ints and arrays round it once
an operator, symbols do not.
"""

from typing import Any

import numpy as np
import pytest
import sympy
from hypothesis import given, settings
from hypothesis import strategies as st
from support import arithmetic
from support.layers import Chain, Feed, SelfAttention

from modelmeter import Cost, DeepseekOCRModel, Layer, ModelMeterError, formula
from modelmeter.core.cost import COST_FIELDS
from modelmeter.core.evaluate import CHUNK
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.llama import LlamaAttention, LlamaFlashAttention2

DECODER = DecoderConfig()
sizes = st.integers(1, 4000)
batches = st.integers(1, 8)


def element(cost: Cost, i: Any) -> list[int]:
    """Element `i` of each quantity; a number that the sweep does not change stands for all."""
    return [int(np.asarray(value)[i]) if np.ndim(value) else value for value in cost.values()]


def numbers(asked: Layer | DeepseekOCRModel) -> list[Any]:
    return [asked.cost(), asked.backward_cost(), asked.activation_peak_bytes(), asked.saved_bytes()]


def chain(seq_len: Any, batch: Any = 1) -> Chain:
    layers = [Feed(24, 40), SelfAttention(24)]
    return Chain(layers * 2, 24, seq_len=seq_len, batch_size=batch)


# Layers ---------------------------------------------------------------------------------------------------------------


@given(st.lists(sizes, min_size=1, max_size=6), batches)
def test_an_element_of_a_sweep_is_the_number(lengths, batch):
    cost, backward, peak, saved = numbers(chain(np.array(lengths), batch))
    for i, length in enumerate(lengths):
        single = numbers(chain(length, batch))
        assert element(cost, i) == list(single[0].values())
        assert element(backward, i) == list(single[1].values())
        assert (peak[i], saved[i]) == (single[2], single[3])


@given(st.lists(st.tuples(sizes, batches), min_size=1, max_size=6))
def test_two_arrays_are_swept_together(pairs):
    lengths, several = (np.array(values) for values in zip(*pairs, strict=True))
    swept = chain(lengths, several).cost()
    for i, (length, batch) in enumerate(pairs):
        assert element(swept, i) == list(chain(length, batch).cost().values())


def test_arrays_broadcast_to_a_grid():
    lengths, several = np.array([[1], [7], [913]]), np.array([[1, 2, 5, 8]])
    swept = chain(lengths, several).cost()
    assert swept.counted_flops.shape == (3, 4)
    for i, j in np.ndindex(3, 4):
        assert element(swept, (i, j)) == list(chain(int(lengths[i, 0]), int(several[0, j])).cost().values())


def test_arrays_that_make_no_sweep():
    layer = chain(5)
    layer.set_batch_size(np.array([1, 2, 3]))
    with pytest.raises(ModelMeterError, match=r"seq_len \(2,\), batch_size \(3,\) make no sweep"):
        layer.set_seq_len(np.array([1, 2]))
    assert layer.seq_len == 5


@pytest.mark.parametrize("points", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 17])
def test_a_long_sweep_is_recorded_in_chunks_that_no_one_sees(points):
    lengths = np.arange(1, points + 1)
    swept = chain(lengths, 2)
    cost, peak = swept.cost(), swept.activation_peak_bytes()
    assert cost.counted_flops.shape == peak.shape == (points,)
    for i in {0, points // 2, points - 1, min(CHUNK, points) - 1, min(CHUNK, points - 1)}:
        single = chain(int(lengths[i]), 2)
        assert element(cost, i) == list(single.cost().values())
        assert peak[i] == single.activation_peak_bytes()


def test_a_long_grid_keeps_its_shape():
    lengths, several = np.arange(1, 5001)[:, None], np.array([[1, 3, 4]])
    swept = chain(lengths, several).cost()
    assert swept.tensor_flops.shape == (5000, 3)
    assert element(swept, (4999, 1)) == list(chain(5000, 3).cost().values())


@given(sizes, batches)
def test_a_formula_with_numbers_is_the_number(length, batch):
    seq, several = sympy.symbols("S B", positive=True, integer=True)
    symbolic = chain(seq, several).cost()
    expected = chain(length, batch).cost()
    for name in COST_FIELDS:
        value = sympy.sympify(getattr(symbolic, name)).subs({seq: length, several: batch})
        assert value == getattr(expected, name)


def test_a_formula_is_the_polynomial_one_writes_by_hand():
    """24 wide, 40 in between; 2 layers of each kind; S tokens of B sequences."""
    seq, several = sympy.symbols("S B", positive=True, integer=True)
    feed = 2 * 24 * 40 * 2 * seq * several
    attention = (2 * 24 * 72 + 2 * 24 * 24) * seq * several + 2 * 2 * 24 * seq**2 * several
    assert sympy.expand(chain(seq, several).cost().counted_flops) == sympy.expand(2 * feed + 2 * attention)


def test_arrays_and_symbols_do_not_mix():
    with pytest.raises(ModelMeterError, match=r"arrays \(seq_len\) and symbols \(batch_size\) do not mix"):
        chain(np.array([1, 2]), sympy.Symbol("B", positive=True, integer=True))


# Overflow -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [10**6, 2 * 10**8, 3 * 10**9, 10**12, 2**70])
def test_a_sweep_that_int64_would_wrap_gives_python_ints(length):
    """2 * S * S * 24 leaves int64 at S = 4.4e8; the whole is priced first at the largest corner."""
    swept = chain(np.array([7, length], dtype=object)).cost()
    for i, each in enumerate((7, length)):
        assert element(swept, i) == list(chain(each).cost().values())
    attention = 2 * (2 * 2 * 24 * length * length)
    assert int(swept.counted_flops[1]) > attention > 0


@given(st.lists(st.integers(1, 2**40), min_size=1, max_size=4), st.integers(1, 2**20))
def test_no_sweep_wraps(lengths, batch):
    layer = LlamaAttention(DECODER)
    layer.set_prefill_shape(np.array(lengths), batch)
    swept, peak, back = layer.cost(), layer.activation_peak_bytes(), layer.backward_cost()
    for i, length in enumerate(lengths):
        layer.set_prefill_shape(length, batch)
        assert element(swept, i) == list(layer.cost().values())
        assert element(back, i) == list(layer.backward_cost().values())
        assert int(peak[i]) == layer.activation_peak_bytes()


def test_a_models_sweep_far_beyond_int64():
    contexts = np.array([10, 10**7, 3 * 10**9])
    model = DeepseekOCRModel.from_config(coverage="max")
    model.start_prefill(contexts, 4)
    assert [int(flops) for flops in model.cost().counted_flops] == [
        arithmetic.decoder(n, 4, 0) for n in contexts.tolist()
    ]
    assert [int(size) for size in model.kv_cache_bytes()] == [61_440 * 4 * n for n in contexts.tolist()]
    model.start_decode()
    assert [int(flops) for flops in model.cost().counted_flops] == [
        arithmetic.decoder(1, 4, n) for n in contexts.tolist()
    ]


def test_a_run_far_beyond_int64():
    """The sum over the steps of an arithmetic progression: tokens * (tokens - 1) / 2 times what one more key costs."""
    context, tokens, batch = np.array([100, 900]), np.array([10**9, 3]), 7
    model = DeepseekOCRModel.from_config(coverage="max")
    model.start_prefill(context, batch)
    swept = model.simulate_run(decode_tokens=tokens).decode.cost
    for i, (n, steps) in enumerate([(100, 10**9), (900, 3)]):
        key = 12 * 2 * 2 * 10 * 128 * batch
        by_hand = steps * arithmetic.decoder(1, batch, n) + key * (steps * (steps - 1) // 2)
        assert int(swept.counted_flops[i]) == by_hand
    model.start_prefill(100, batch)
    assert model.simulate_run(decode_tokens=10**9).decode.cost.counted_flops == int(swept.counted_flops[0])


def test_costs_of_sweeps_add_without_wrapping():
    near = Cost(tensor_flops=np.array([2**62, 1]))
    assert [int(flops) for flops in (near + near + near).tensor_flops] == [3 * 2**62, 3]
    assert [int(flops) for flops in (near * 1000).tensor_flops] == [1000 * 2**62, 1000]


# The model ------------------------------------------------------------------------------------------------------------

CONTEXTS = np.array([1, 2, 3, 5, 17, 100, 283, 913, 4096, 8192])
CHOICES = [
    {},
    {"attention": "flash", "logits": "last", "cache": "in_place", "coverage": "max", "causal": "triangle"},
    {"implementation": "transformers", "position_ids": "batch", "experts": "grouped"},
    {"implementation": "transformers", "attention": "flash", "coverage": 12.5},
    {"logits": "last"},
]


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "released")
def test_a_models_sweep_is_each_integer_model(choice, stage, batch):
    swept, single = DeepseekOCRModel.from_config(**choice), DeepseekOCRModel.from_config(**choice)
    for model, contexts in ((swept, CONTEXTS), (single, None)):
        if contexts is not None:
            model.start_prefill(contexts, batch)
            if stage == "decode":
                model.start_decode()
    cost = swept.cost()
    for i, context in enumerate(CONTEXTS.tolist()):
        single.start_prefill(context, batch)
        if stage == "decode":
            single.start_decode()
        for name in COST_FIELDS:
            value = np.broadcast_to(getattr(cost, name), CONTEXTS.shape)[i]
            assert value == getattr(single.cost(), name), (context, name)
        assert int(swept.kv_cache_bytes()[i]) == single.kv_cache_bytes()


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "released")
def test_peaks_of_a_models_sweep(choice, stage, batch):
    """Of lifetimes too: a copy that only some sizes make lives and dies as it does at each size."""
    model = DeepseekOCRModel.from_config(**choice)
    model.start_prefill(CONTEXTS, batch)
    if stage == "decode":
        model.start_decode()
    swept = np.broadcast_to(model.activation_peak_bytes(), CONTEXTS.shape)
    peaks = []
    for context in CONTEXTS.tolist():
        model.start_prefill(context, batch)
        if stage == "decode":
            model.start_decode()
        peaks.append(model.activation_peak_bytes())
    assert [int(peak) for peak in swept] == peaks


@settings(max_examples=15)
@given(
    st.integers(2, 5000),
    st.integers(2, 6),
    st.sampled_from(["prefill", "decode"]),
    st.sampled_from(["eager", "flash"]),
    st.sampled_from(["vendor", "transformers"]),
)
def test_a_models_formula_is_the_integer_model(length, batch, stage, attention, implementation):
    model = DeepseekOCRModel.from_config(attention=attention, implementation=implementation, coverage="min")
    model.start_prefill(length, batch)
    if stage == "decode":
        model.start_decode()
    for quantity in ("counted_flops", "tensor_flops", "cuda_flops", "weight_bytes", "activation_bytes", "kv_bytes"):
        found = formula(model, quantity, stage=stage)
        numbers = {"B": batch, "S": length, "T": length}
        value = found.subs({symbol: numbers[symbol.name] for symbol in found.free_symbols})
        assert value == getattr(model.cost(), quantity)


@given(
    st.integers(1, 3000),
    st.integers(1, 3),
    st.integers(1, 3000),
    st.sampled_from([LlamaAttention, LlamaFlashAttention2]),
)
def test_every_branch_on_a_size_is_taken_by_arrays_and_symbols_too(queries, batch, past, kind):
    """Batch 1 and a single query skip copies: 0/1 factors in arrays, cases in symbols. An empty past is apart."""
    conventions = Conventions(attention="flash" if kind is LlamaFlashAttention2 else "eager")
    layer = kind(DECODER, conventions)
    single = layer.trace_at(queries, batch, past).total
    arrays = layer.trace_at(np.array([queries, 5]), np.array([batch, 2]), np.array([past, 9])).total
    assert element(arrays, 0) == list(single.values())
    s, b, t = sympy.symbols("s b t", positive=True, integer=True)
    symbolic = layer.trace_at(s, b, t).total
    for name in COST_FIELDS:
        value = sympy.sympify(getattr(symbolic, name)).subs({s: queries, b: batch, t: past})
        assert value == getattr(single, name)


@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_a_prefills_sweep_over_batches_is_each_batch(attention):
    """The vendor's first keys and values are copied for several sequences, and are the cache itself for one."""
    batches, lengths = np.array([1, 1, 1, 2, 2, 3]), np.array([1, 2, 100, 1, 50, 913])
    model = DeepseekOCRModel.from_config(attention=attention, coverage="min")
    model.start_prefill(lengths, batches)
    for i, (batch, length) in enumerate(zip(batches.tolist(), lengths.tolist(), strict=True)):
        single = DeepseekOCRModel.from_config(attention=attention, coverage="min")
        single.start_prefill(length, batch)
        assert element(model.cost(), i) == list(single.cost().values())
        assert model.activation_peak_bytes()[i] == single.activation_peak_bytes()
