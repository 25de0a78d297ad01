"""A whole model in a precision: resident bytes, traffic by stage, cache, sweeps and formulas."""

from itertools import product
from typing import Any

import attrs
import numpy as np
import pytest

from modelmeter import (
    Cost,
    DeepseekOCRConfig,
    DeepseekOCRModel,
    ModelMeterError,
    Precision,
    SyntheticKVCache,
    ViewPlan,
    formula,
)
from modelmeter.core.cost import COST_FIELDS
from modelmeter.core.op import Op
from modelmeter.core.tensor import BF16, FP8, FP16, FP32, INT8
from modelmeter.formulas import QUANTITIES
from modelmeter.models.deepseek_ocr.config import DecoderConfig

PARAMETERS = 3_336_106_240  # of the released checkpoint
VIEWS = ViewPlan.from_grid((2, 1))
IMPLEMENTATIONS = ("vendor", "transformers")
PRECISIONS = {
    "int4": Precision(weights="int4"),
    "fp8": Precision(weights="fp8", kv="fp8"),
    "W8A8": Precision(weights="int8", activations="int8", kv="int8", parts=("decoder", "lm_head", "vision")),
}

# The linear layers of the decoder: (input features, output channels), how often they stand in the model and, for one
# token, how often they are used.
ATTENTION = [((1280, 1280), 4 * 12, 4 * 12)]
DENSE = [((1280, 6848), 2, 2), ((6848, 1280), 1, 1)]
SHARED = [((1280, 1792), 2 * 11, 2 * 11), ((1792, 1280), 11, 11)]
EXPERTS = [((1280, 896), 2 * 64 * 11, 2 * 6 * 11), ((896, 1280), 64 * 11, 6 * 11)]
DECODER = [*ATTENTION, *DENSE, *SHARED, *EXPERTS]
LM_HEAD = [((1280, 129_280), 1, 1)]
SAM = [((768, 3 * 768), 12, 12), ((768, 768), 12, 12), ((768, 3072), 12, 12), ((3072, 768), 12, 12)]
CLIP = [((1024, 3 * 1024), 24, 24), ((1024, 1024), 24, 24), ((1024, 4096), 24, 24), ((4096, 1024), 24, 24)]
VISION = [*SAM, *CLIP, ((2048, 1280), 1, 1)]


def bf16(features: int, channels: int) -> int:
    return 2 * features * channels


def eight_bits(features: int, channels: int) -> int:
    return features * channels + 4 * channels  # an fp32 scale a channel


def int4(features: int, channels: int) -> int:
    scales = channels * -(-features // 128)
    return features * channels // 2 + scales * 2 + scales // 2  # fp16 scales, 4-bit zero points


BYTES = {"bf16": bf16, "fp8": eight_bits, "int8": eight_bits, "int4": int4}


def saved(weights: str, layers: list[Any], column: int = 1) -> int:
    """Bytes less than in bf16; `column` 1: all layers, 2: those one token uses."""
    return sum(row[column] * (bf16(*row[0]) - BYTES[weights](*row[0])) for row in layers)


def model(precision: Precision | None = None, **conventions: Any) -> DeepseekOCRModel:
    return DeepseekOCRModel.from_config(precision=precision, **conventions)


def stages(asked: DeepseekOCRModel, batch: int = 1) -> dict[str, list[Op]]:
    """The operators of a page's vision, prefill and one decode step."""
    asked.set_views(VIEWS)
    found = {}
    for stage, start in (
        ("vision", lambda: asked.start_vision(batch)),
        ("prefill", lambda: asked.start_prefill(700, batch)),
        ("decode", asked.start_decode),
    ):
        start()
        found[stage] = [op for _, op in asked.trace().operators()]
    return found


def value(expression: Any, **sizes: int) -> Any:
    """A formula at numbers."""
    return expression.subs({symbol: sizes[str(symbol)] for symbol in expression.free_symbols})


# Weights --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weights", ["fp8", "int8", "int4"])
@pytest.mark.parametrize(
    ("parts", "layers"),
    [
        (("decoder",), DECODER),
        (("lm_head",), LM_HEAD),
        (("vision",), VISION),
        (("decoder", "lm_head", "vision"), [*DECODER, *LM_HEAD, *VISION]),
    ],
)
def test_resident_bytes(weights, parts, layers):
    quantised = model(Precision(weights=weights, parts=parts))
    assert quantised.parameter_count() == PARAMETERS
    assert quantised.parameter_bytes() == 2 * PARAMETERS - saved(weights, layers)


def test_resident_bytes_by_part():
    """The parts add up, and vision is as it was."""
    costs = []
    for precision in (None, Precision(weights="int4")):
        asked = model(precision)
        asked.set_views(VIEWS)
        asked.start_prefill(700)
        costs.append(asked.part_costs())
    plain, quantised = costs
    assert plain["decoder"].weights_bytes - quantised["decoder"].weights_bytes == saved("int4", DECODER)
    assert all(plain[part].weights_bytes == quantised[part].weights_bytes for part in plain if part != "decoder")
    assert sum(part.weights_bytes for part in quantised.values()) == 2 * PARAMETERS - saved("int4", DECODER)


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("weights", ["fp8", "int8", "int4"])
def test_weights_that_a_decode_step_reads(weights, implementation):
    """One token reaches 6 of the 64 experts. transformers' fused gate_up is the two of the vendor's side by side."""
    read = []
    for precision in (None, Precision(weights=weights)):
        asked = model(precision, implementation=implementation)
        asked.start_prefill(50)
        asked.start_decode()
        read.append(asked.cost())
    assert read[0].weight_read_bytes - read[1].weight_read_bytes == saved(weights, DECODER, column=2)
    assert attrs.evolve(read[1], weight_read_bytes=0) == attrs.evolve(read[0], weight_read_bytes=0)


def test_vision_reads_its_weights_once_a_view_size():
    """Two view sizes: the tower runs twice."""
    read = []
    for precision in (None, Precision(weights="int8", parts="vision")):
        asked = model(precision)
        asked.set_views(VIEWS)
        asked.start_vision()
        read.append(asked.cost().weight_read_bytes)
    assert read[0] - read[1] == 2 * saved("int8", VISION, column=2)


def test_what_weights_alone_leave_as_it_was():
    """Weight-only: the same operators in the same dtypes, at the same peak."""
    for implementation, attention in product(IMPLEMENTATIONS, ("eager", "flash")):
        chosen = {"implementation": implementation, "attention": attention}
        plain, quantised = (model(precision, **chosen) for precision in (None, Precision(weights="int4")))
        for stage, operators in stages(plain).items():
            others = stages(quantised)[stage]
            assert [(op.name, op.dtype, op.numbers[:3]) for op in operators] == [
                (op.name, op.dtype, op.numbers[:3]) for op in others
            ]
        for asked in (plain, quantised):
            asked.start_prefill(700)
        assert plain.activation_peak_bytes() == quantised.activation_peak_bytes()


# The 16-bit float -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("implementation", "attention"), list(product(IMPLEMENTATIONS, ("eager", "flash"))))
def test_fp16_is_bf16_by_another_name(implementation, attention):
    chosen = {"implementation": implementation, "attention": attention}
    plain, other = model(**chosen), model(Precision(weights="fp16"), **chosen)
    for (stage, operators), others in zip(stages(plain).items(), stages(other).values(), strict=True):
        named = [(op.name, FP16 if op.dtype is BF16 else op.dtype, op.numbers) for op in operators]
        assert named == [(op.name, op.dtype, op.numbers) for op in others], stage
    assert plain.parameter_bytes() == other.parameter_bytes()


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_the_default_precision_changes_nothing(implementation):
    plain, named = (stages(model(precision, implementation=implementation)) for precision in (None, Precision()))
    for stage, operators in plain.items():
        assert [(op.name, op.dtype, op.numbers) for op in operators] == [
            (op.name, op.dtype, op.numbers) for op in named[stage]
        ]


# Activations ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "dtype"), [("fp8", FP8), ("int8", INT8)])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_products_of_quantised_activations(kind, dtype, implementation):
    """The decoder's linear layers run in 8 bits; its gate stays in fp32, attention, vision and the head in bf16."""
    asked = model(Precision(weights=kind, activations=kind), implementation=implementation)
    asked.start_prefill(50)
    asked.start_decode()
    dtypes: dict[str, set[Any]] = {"linear": set(), "gate": set(), "lm_head": set(), "attention": set()}
    for path, op in asked.trace().operators():
        if op.kind == "matmul" and "rotary_emb" not in path:
            leaf = path.rsplit(".", 1)[-1]
            place = "linear" if leaf.endswith("_proj") else "attention" if leaf == "self_attn" else leaf
            dtypes[place].add(op.dtype)
    assert dtypes == {"linear": {dtype}, "gate": {FP32}, "lm_head": {BF16}, "attention": {BF16}}
    quantising = [op for _, op in asked.trace().operators() if op.name == "quantize"]
    products = [op for _, op in asked.trace().operators() if op.kind == "matmul" and op.dtype is dtype]
    assert len(quantising) == len(products) > 0


@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_counted_flops_are_those_of_the_model(precision, implementation):
    plain, other = (stages(model(chosen, implementation=implementation), 2) for chosen in (None, precision))
    for stage in plain:
        for quantity in ("counted_flops", "tensor_flops"):
            sums = [sum(getattr(op.cost, quantity) for op in run[stage]) for run in (plain, other)]
            assert sums[0] == sums[1]


# Cache ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
@pytest.mark.parametrize(("kv", "row"), [("bf16", 2 * 128), ("fp8", 128), ("int8", 128 + 2)])
def test_the_cache_and_the_trace_agree(kv, row, implementation, attention):
    """What is written is what is held: 12 layers of 10 heads, keys and values, 3 sequences."""
    asked = model(Precision(kv=kv), implementation=implementation, attention=attention, cache="in_place")
    per_token = asked.kv_bytes_per_token(3)
    assert per_token == 3 * 2 * 12 * 10 * row
    cache = asked.start_prefill(50, 3)
    assert asked.cost().kv_write_bytes == cache.size_bytes() == asked.kv_cache_bytes() == 50 * per_token
    asked.start_decode()
    assert asked.cost().kv_write_bytes == per_token
    assert asked.cost().kv_read_bytes == 51 * per_token
    asked.decode_one_token()
    assert asked.kv_cache_bytes() == 51 * per_token
    asked.extend_prefill(20)
    assert asked.cost().kv_write_bytes == 20 * per_token
    assert asked.cost().kv_read_bytes == 71 * per_token
    assert asked.get_forward_cost().kv_cache_bytes == 71 * per_token


@pytest.mark.parametrize("cache", ["concat", "in_place"])
@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("kv", ["fp8", "int8"])
def test_memory_of_a_quantised_cache(kv, attention, cache):
    """A step leaves one token more in it. A prefill's 16-bit keys and values are beside it, of one layer at a time."""
    chosen = {"attention": attention, "cache": cache, "logits": "last"}
    asked = model(Precision(kv=kv), **chosen)
    asked.start_prefill(1000)
    prefill = asked.trace()
    assert prefill.root.peak_with_cache()[0] == asked.kv_cache_bytes()
    asked.start_decode()
    assert asked.trace().root.peak_with_cache()[0] == asked.kv_bytes_per_token()
    if (attention, cache) == ("eager", "concat"):  # the peak is in attention, where bf16 keeps them in the cache
        plain = model(**chosen)
        plain.start_prefill(1000)
        assert prefill.peak_bytes - plain.activation_peak_bytes() == 2 * (1000 * 1280 * 2)


def test_grouped_heads_are_cached_as_they_are():
    config = DeepseekOCRConfig(decoder=DecoderConfig(num_key_value_heads=2))
    for attention in ("eager", "flash"):
        asked = DeepseekOCRModel.from_config(
            config, precision=Precision(kv="int8"), cache="in_place", attention=attention
        )
        asked.start_prefill(50)
        asked.start_decode()
        assert asked.cost().kv_read_bytes == 51 * 2 * 12 * 2 * (128 + 2)


def test_a_cache_in_bf16_is_refused():
    asked = model(Precision(kv="fp8"))
    with pytest.raises(ModelMeterError, match="the KV cache has bytes_per_value 2, the model needs 1"):
        asked.start_prefill(50, kv_cache=SyntheticKVCache(1, 10, 128, 12))


# Sums, sweeps, formulas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_a_run_is_the_sum_of_its_steps(precision):
    asked = model(precision)
    asked.start_prefill(50)
    run = asked.simulate_run(decode_tokens=9)
    asked.start_decode()
    total = Cost()
    for _ in range(9):
        total = total + asked.cost()
        asked.decode_one_token()
    assert run.decode.cost == total
    assert run.total.kv_cache_bytes == asked.kv_cache_bytes()


@pytest.mark.parametrize("attention", ["eager", "flash"])
@pytest.mark.parametrize("precision", PRECISIONS.values(), ids=PRECISIONS)
def test_an_element_of_a_sweep_and_a_formula_are_the_number(precision, attention):
    """With the fewest experts reached all quantities are whole."""
    asked = model(precision, coverage="min", attention=attention)
    lengths, batch = [2, 300, 4000], 3
    for stage in ("prefill", "decode"):
        closed = {name: formula(asked, name, stage=stage) for name in QUANTITIES}
        answers = []
        for context in (np.array(lengths), *lengths):
            asked.start_prefill(context, batch)
            if stage == "decode":
                asked.start_decode()
            answers.append((asked.cost(), asked.kv_cache_bytes(), asked.activation_peak_bytes()))
        (swept, held, peak), *singles = answers
        for i, (cost, kv, single_peak) in enumerate(singles):
            sizes = {"B": batch, "S": lengths[i], "T": lengths[i]}
            for name, expression in closed.items():
                assert value(expression, **sizes) == (kv if name == "kv_cache_bytes" else getattr(cost, name))
            assert (held[i], np.broadcast_to(peak, 3)[i]) == (kv, single_peak)
            for name in COST_FIELDS:
                assert np.broadcast_to(getattr(swept, name), 3)[i] == getattr(cost, name)


def test_the_formula_of_an_attention_layer_alone():
    layer = model(Precision(kv="int8")).network.model.layers[1]
    assert value(formula(layer, "kv_cache_bytes", stage="decode"), B=3, T=70) == 3 * 70 * 2 * 10 * (128 + 2)


# Refusals -------------------------------------------------------------------------------------------------------------


def test_the_precision_is_kept():
    assert model().precision == Precision()
    assert model(PRECISIONS["int4"]).precision is PRECISIONS["int4"]


@pytest.mark.parametrize("given", ["int4", {"weights": "int4"}, 4])
def test_what_is_no_precision(given):
    with pytest.raises(ModelMeterError, match="precision must be a Precision, as Precision"):
        model(given)


def test_a_head_that_is_the_embedding():
    tied = DeepseekOCRConfig(decoder=DecoderConfig(tie_word_embeddings=True))
    assert DeepseekOCRModel.from_config(tied, precision=Precision(weights="int4")).parameter_bytes() == (
        2 * (PARAMETERS - 1280 * 129_280) - saved("int4", DECODER)
    )
    with pytest.raises(ModelMeterError, match=r"the head is the embedding's table.*leave lm_head out"):
        DeepseekOCRModel.from_config(tied, precision=Precision(weights="int4", parts=("decoder", "lm_head")))


def test_backward_of_what_is_quantised():
    """Vision has a backward pass beside a quantised decoder; the decoder has none, however it is quantised."""
    plain, quantised = model(), model(PRECISIONS["int4"])
    for asked in (plain, quantised):
        asked.set_views(VIEWS)
        asked.start_vision()
    assert plain.backward_cost() == quantised.backward_cost()
    for precision in (*PRECISIONS.values(), Precision(kv="fp8")):
        asked = model(precision)
        asked.start_prefill(50)
        with pytest.raises(ModelMeterError, match="a quantised model has no backward pass"):
            asked.backward_cost()
