"""Closed formulas against the integer model: the same question asked with symbols and with numbers."""

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
import sympy

import modelmeter as mm
from modelmeter.formulas import QUANTITIES, describe_formula, formula
from modelmeter.models.deepseek_ocr import (
    CLIPVisionEmbeddings,
    DeepseekV2DecoderLayer,
    DeepseekV2MLP,
    DeepseekV2MoE,
    DeepseekV2RMSNorm,
    ImageEncoderViT,
    LlamaAttention,
    LlamaFlashAttention2,
    LMHead,
    MlpProjector,
    MoEGate,
    NoTPTransformerBlock,
    PatchEmbed,
    VitModel,
)
from modelmeter.models.deepseek_ocr.config import Conventions

CONFIG = mm.DeepseekOCRConfig()
WHOLE = Conventions(coverage="min")  # every number whole: an expected value is compared apart
KV_BYTES_PER_TOKEN = 2 * 12 * 10 * 128 * 2  # keys and values, layers, heads, width, bf16

LARGE = [
    {"B": 2, "S": 2, "T": 1, "R": 5},
    {"B": 4, "S": 913, "T": 913, "R": 8},
    {"B": 3, "S": 8192, "T": 60_000, "R": 20},
]
"""Every size above 1, no view of the native side (R = 16)."""
SMALL = [{"B": 1, "S": 1, "T": 1, "R": 1}, {"B": 1, "S": 7, "T": 64, "R": 10}, {"B": 6, "S": 1, "T": 2, "R": 3}]


def at(expression, point):
    """The value of a formula at a point."""
    return sympy.sympify(expression).subs({s: point[s.name] for s in sympy.sympify(expression).free_symbols})


def model_with(**conventions):
    """A fresh released model whose numbers are all whole."""
    return mm.DeepseekOCRModel.from_config(**{"coverage": "min", **conventions})


def start(model, stage, point):
    """Bring a model to the stage of a formula at a point."""
    if stage == "vision":
        model.set_views(mm.ViewPlan.from_grid((1, 1), base_size=64 * point["R"]))
        model.start_vision(point["B"])
        return model
    model.set_views(None)
    model.start_prefill(point["S" if stage == "prefill" else "T"], point["B"])
    if stage == "decode":
        model.start_decode()
    return model


def counted(asked, quantity):
    """A quantity of `asked` (a model or a layer) as an integer."""
    return asked.kv_cache_bytes() if quantity == "kv_cache_bytes" else getattr(asked.cost(), quantity)


CHOICES = [
    {},
    {"attention": "flash", "logits": "last", "cache": "in_place", "coverage": "max"},
    {"implementation": "transformers", "position_ids": "batch"},
    {"implementation": "transformers", "attention": "flash", "experts": "grouped", "causal": "triangle"},
    {"elementwise": False, "coverage": 12},
]


@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(map(str, choice.values())) or "released")
def test_a_stage_equals_the_integer_model(choice, stage):
    model = model_with(**choice)
    formulas = {quantity: formula(model, quantity, stage=stage) for quantity in QUANTITIES}
    for point in LARGE:
        start(model, stage, point)
        expected = {quantity: counted(model, quantity) for quantity in QUANTITIES}
        assert {quantity: at(found, point) for quantity, found in formulas.items()} == expected


@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
@pytest.mark.parametrize("implementation", ["vendor", "transformers"])
def test_exact_formulas_hold_for_sizes_of_one_too(implementation, stage):
    model = model_with(implementation=implementation)
    formulas = {quantity: formula(model, quantity, stage=stage, exact=True) for quantity in QUANTITIES}
    for point in SMALL + LARGE:
        start(model, stage, point)
        expected = {quantity: counted(model, quantity) for quantity in QUANTITIES}
        assert {quantity: at(found, point) for quantity, found in formulas.items()} == expected


@pytest.mark.parametrize("stage", ["prefill", "decode"])
def test_an_expected_value_is_within_its_roundings(stage):
    model = model_with(coverage="expected")
    found = formula(model, "weight_bytes", stage=stage)
    for point in LARGE[:2]:
        start(model, stage, point)
        roundings = 11 * 3  # three projections of eleven expert layers, each rounded to a whole byte
        assert abs(at(found, point) - model.cost().weight_bytes) <= roundings / 2


def test_the_public_function_hides_behind_no_module():
    # A module of the same name takes the function's place once it is imported, by whomever.
    assert {module.name for module in pkgutil.iter_modules(mm.__path__)}.isdisjoint(mm.__all__)


def test_known_coefficients():
    decode = formula(model_with(), "tensor_flops", stage="decode")
    batch, cached = sympy.symbols("B T", positive=True, integer=True)
    scores = 2 * 2 * 12 * 10 * 128  # a multiply-add is 2; q k^T and p v; layers, heads, width
    assert decode.coeff(batch * cached) == scores
    kv = formula(model_with(), "kv_cache_bytes", stage="decode")
    assert kv == KV_BYTES_PER_TOKEN * batch * cached


@pytest.mark.parametrize("attention", ["eager", "flash"])
def test_a_triangle_needs_the_scores_on_and_below_the_diagonal(attention):
    choices = {"full": model_with(attention=attention), "needed": model_with(attention=attention, causal="triangle")}

    def spared(stage, quantity, point):
        of = {name: at(formula(model, quantity, stage=stage), point) for name, model in choices.items()}
        return of["full"] - of["needed"]

    for point in LARGE:
        above = point["S"] * (point["S"] - 1) // 2  # of S * S scores
        products = (
            2 * 2 * 12 * 10 * 128 * point["B"] * above
        )  # a multiply-add is 2; q k^T and p v; layers, heads, width
        assert spared("prefill", "tensor_flops", point) == products
        assert spared("decode", "tensor_flops", point) == 0  # a single query sees every key
        assert spared("prefill", "counted_flops", point) == 0


PATHS = [
    ("vision", "model.sam_model.blocks.0.attn"),
    ("vision", "model.sam_model.blocks.2"),
    ("vision", "model.sam_model.neck"),
    ("vision", "model.vision_model.transformer.layers.23"),
    ("vision", "model.projector"),
    ("prefill", "model.layers.0.mlp.gate_proj"),
    ("prefill", "model.layers.11.mlp"),
    ("prefill", "model.layers.3.self_attn"),
    ("prefill", "model.embed_tokens"),
    ("decode", "model.layers.3.self_attn"),
    ("decode", "model.layers.11.mlp.gate"),
    ("decode", "model.norm"),
    ("decode", "lm_head"),
]


@pytest.mark.parametrize(("stage", "path"), PATHS)
def test_a_module_of_a_stage_equals_the_integer_model(stage, path):
    model = model_with()
    found_in = start(model_with(), stage, LARGE[0]).trace().by_layer()
    near = [name for name in found_in if name.startswith(path)]
    assert path in found_in, near
    quantities = [quantity for quantity in QUANTITIES if quantity != "kv_cache_bytes"]
    formulas = {quantity: formula(model, quantity, stage=stage, layer=path) for quantity in quantities}
    for point in LARGE:
        cost = start(model, stage, point).trace().by_layer()[path]
        expected = {quantity: getattr(cost, quantity) for quantity in quantities}
        assert {quantity: at(found, point) for quantity, found in formulas.items()} == expected


def cached(make):
    """Makes of an attention or decoder layer: (at a prefill point, at a decode point)."""

    def prefill(point):
        layer = make()
        layer.set_prefill_shape(point["S"], point["B"])
        return layer

    def decode(point):
        layer = make()
        layer.set_decode_shape(point["T"] + 1, point["B"])  # the keys read: those cached and its own
        return layer

    return prefill, decode


def over_tokens(make):
    """Makes of a layer over tokens: (of S tokens, of one)."""
    return (lambda at: make(seq_len=at["S"], batch_size=at["B"])), (lambda at: make(seq_len=1, batch_size=at["B"]))


LAYERS = {
    "LlamaAttention": cached(lambda: LlamaAttention(CONFIG.decoder)),
    "LlamaFlashAttention2": cached(lambda: LlamaFlashAttention2(CONFIG.decoder)),
    "dense decoder layer": cached(lambda: DeepseekV2DecoderLayer(CONFIG.decoder, 0, WHOLE)),
    "sparse decoder layer": cached(lambda: DeepseekV2DecoderLayer(CONFIG.decoder, 1, WHOLE)),
    "DeepseekV2MLP": over_tokens(lambda **size: DeepseekV2MLP(1280, 6848, **size)),
    "DeepseekV2MoE": over_tokens(lambda **size: DeepseekV2MoE(CONFIG.decoder, WHOLE, **size)),
    "MoEGate": over_tokens(lambda **size: MoEGate(CONFIG.decoder, **size)),
    "DeepseekV2RMSNorm": over_tokens(lambda **size: DeepseekV2RMSNorm(1280, **size)),
}


@pytest.mark.parametrize("stage", ["prefill", "decode"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_over_tokens_equals_its_integers(name, stage):
    build = LAYERS[name][stage == "decode"]
    quantities = QUANTITIES if name.startswith(("Llama", "dense", "sparse")) else QUANTITIES[:-1]
    formulas = {quantity: formula(build(LARGE[0]), quantity, stage=stage) for quantity in quantities}
    for point in LARGE:
        layer = build(point)
        expected = {quantity: counted(layer, quantity) for quantity in quantities}
        assert {quantity: at(found, point) for quantity, found in formulas.items()} == expected


VISION_LAYERS = {  # make(side of the input as R says, batch)
    "PatchEmbed": lambda r, b: PatchEmbed(CONFIG.sam, seq_len=64 * r, batch_size=b),
    "ImageEncoderViT": lambda r, b: ImageEncoderViT(CONFIG.sam, seq_len=64 * r, batch_size=b),
    "CLIPVisionEmbeddings": lambda r, b: CLIPVisionEmbeddings(CONFIG.clip, seq_len=r, batch_size=b),
    "VitModel": lambda r, b: VitModel(CONFIG.clip, seq_len=r, batch_size=b),
}


@pytest.mark.parametrize("name", VISION_LAYERS)
def test_an_image_layer_equals_its_integers(name):
    make = VISION_LAYERS[name]
    quantities = QUANTITIES[:-1]
    formulas = {quantity: formula(make(2, 1), quantity) for quantity in quantities}
    for point in LARGE:
        cost = make(point["R"], point["B"]).cost()
        expected = {quantity: getattr(cost, quantity) for quantity in quantities}
        assert {quantity: at(found, point) for quantity, found in formulas.items()} == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda **size: NoTPTransformerBlock(CONFIG.clip, **size),
        lambda **size: MlpProjector(CONFIG.projector, **size),
        lambda **size: LMHead(1280, 129_280, **size),
    ],
    ids=["NoTPTransformerBlock", "MlpProjector", "LMHead"],
)
def test_other_token_layers_equal_their_integers(make):
    for quantity in QUANTITIES[:-1]:
        found = formula(make(), quantity)
        for point in LARGE:
            layer = make(seq_len=point["S"], batch_size=point["B"])
            assert (quantity, at(found, point)) == (quantity, counted(layer, quantity))


def test_a_layer_has_its_parts():
    mlp = DeepseekV2MLP(1280, 6848)
    batch, queries = sympy.symbols("B S", positive=True, integer=True)
    assert formula(mlp, "tensor_flops", layer="up_proj") == 2 * 1280 * 6848 * batch * queries
    assert formula(mlp, "tensor_flops") == 3 * 2 * 1280 * 6848 * batch * queries


@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
def test_the_state_of_a_model_is_not_moved(stage):
    model = start(model_with(), stage, LARGE[1])
    if stage == "decode":
        model.decode_one_token()
    before = model.get_forward_cost(), model.operation_mode, model.kv_cache and model.kv_cache.total_len(), model.views
    for other in ("vision", "prefill", "decode"):
        formula(model, "io_bytes", stage=other)
    after = model.get_forward_cost(), model.operation_mode, model.kv_cache and model.kv_cache.total_len(), model.views
    assert after == before


def test_a_fresh_model_stays_fresh():
    model = model_with()
    formula(model, "flops", stage="decode")
    assert model.kv_cache is None
    with pytest.raises(mm.ModelMeterError, match="needs a stage"):
        model.get_forward_cost()


def test_the_state_of_a_layer_is_not_moved():
    layer = LlamaAttention(CONFIG.decoder)
    layer.set_decode_state(50, 3, 2)
    before = layer.cost(), layer.operation_mode, layer.kv_cache_bytes()
    formula(layer, "flops", stage="prefill")
    assert (layer.cost(), layer.operation_mode, layer.kv_cache_bytes()) == before


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: formula(model_with(), "flop", stage="decode"), "unknown quantity 'flop'.*tensor_flops"),
        (lambda: formula(model_with(), stage="train"), "unknown stage 'train'.*vision, prefill, decode"),
        (lambda: formula(model_with()), "stage.*vision, prefill, decode"),
        (lambda: formula(model_with(), stage="decode", layer="model.layers.12"), r"near it: model\.layers\.\d"),
        (lambda: formula(model_with(), stage="decode", layer="model.sam_model"), "no module 'model.sam_model'"),
        (lambda: formula(MoEGate(CONFIG.decoder), stage="vision"), "no stage 'vision'.*prefill or decode"),
        (lambda: describe_formula("deepseek-orc", "decode", "flops"), "unknown model 'deepseek-orc'.*deepseek-ocr"),
        (lambda: describe_formula("deepseek-ocr", "decode", "flops", attention="fast"), "'fast'.*eager or flash"),
        (lambda: describe_formula("deepseek-ocr", "decode", "flops", speed=3), "unknown convention 'speed'"),
    ],
    ids=["quantity", "stage", "no-stage", "layer", "other-stage", "layer-stage", "model", "choice", "convention"],
)  # fmt: skip
def test_errors_name_what_is_wrong_and_what_there_is(ask, words):
    with pytest.raises(mm.ModelMeterError, match=words):
        ask()


def test_without_sympy_the_remedy_is_named():
    code = (
        "import sys; sys.modules['sympy'] = None; import modelmeter as mm\n"
        "try: mm.formula(mm.DeepseekOCRModel.from_config(), stage='decode')\n"
        "except mm.ModelMeterError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path(mm.__file__).parents[1]
    )
    assert "pip install 'modelmeter[symbolic]'" in done.stdout
