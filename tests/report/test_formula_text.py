"""A formula as JSON against its schema, as text and as LaTeX."""

import json

import attrs
import pytest
import sympy
from support.schema import check_schema, validator_of

from modelmeter.formulas import QUANTITIES, SYMBOLS, describe_formula
from modelmeter.models.deepseek_ocr.config import Conventions

KV_BYTES_PER_TOKEN = 2 * 12 * 10 * 128 * 2  # keys and values, layers, heads, width, bf16


@pytest.fixture(scope="module")
def validator():
    return validator_of("formula-1")


def test_the_schema_knows_what_there_is(validator):
    check_schema(validator)
    schema = validator.schema
    assert tuple(schema["properties"]["quantity"]["enum"]) == QUANTITIES
    assert schema["properties"]["symbols"]["propertyNames"]["enum"] == list(SYMBOLS)
    conventions = schema["properties"]["conventions"]["properties"]
    assert list(conventions) == [field.name for field in attrs.fields(Conventions)]


@pytest.mark.parametrize("stage", ["vision", "prefill", "decode"])
@pytest.mark.parametrize(("quantity", "layer"), [("flops", None), ("weight_bytes", None), ("kv_cache_bytes", None)])
def test_json_holds_the_question_and_the_formula(validator, stage, quantity, layer):
    result = describe_formula("deepseek-ocr", stage, quantity, layer=layer)
    data = json.loads(result.to_json())
    validator.validate(data)
    assert [data[name] for name in ("model", "stage", "layer", "quantity")] == ["deepseek-ocr", stage, layer, quantity]
    symbols = {name: sympy.Symbol(name, positive=True, integer=True) for name in SYMBOLS}
    assert sympy.sympify(data["formula"], locals=symbols) == result.expression
    assert set(data["symbols"]) == {symbol.name for symbol in result.expression.free_symbols}


def test_json_says_on_which_conventions_the_formula_rests():
    eager, flash = (
        json.loads(describe_formula("deepseek-ocr", "prefill", "io_bytes", attention=kind).to_json())
        for kind in ("eager", "flash")
    )
    assert (eager["conventions"]["attention"], flash["conventions"]["attention"]) == ("eager", "flash")


def test_text_and_latex_hold_the_question():
    result = describe_formula("deepseek-ocr", "decode", "kv_cache_bytes", layer=None)
    assert result.text.splitlines()[0] == f"kv_cache_bytes(decode) = {KV_BYTES_PER_TOKEN}*B*T"
    assert result.latex == rf"\mathrm{{kv\_cache\_bytes(decode)}} = {KV_BYTES_PER_TOKEN} B T"
    layer = describe_formula("deepseek-ocr", "decode", "kv_bytes", layer="model.layers.1.self_attn")
    assert layer.text.startswith("kv_bytes(decode, model.layers.1.self_attn) = ")
    assert r"self\_attn" in layer.latex and "_" not in layer.latex.replace(r"\_", "").split("=")[0]
