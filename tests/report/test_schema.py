"""The analysis as data against its published JSON Schema, and the schema against what it must refuse."""

import json

import attrs
import pytest
from support.schema import at, check_schema, places, with_more, without

from modelmeter.core.cost import STAGE_FIELDS
from modelmeter.documents import Page, PageError
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.parts import PARTS
from modelmeter.models.deepseek_ocr.views import MODES
from modelmeter.report.analysis import STAGES, Workload
from modelmeter.report.export import EXACT_FIELDS, LAYER_FIELDS, analysis_data, to_json

A4 = Page("a.pdf", 1, 1191, 1684, "a.pdf p1")
RECEIPT = Page("b.png", 1, 600, 620, "b.png")
BAD = PageError("c.pdf", "the PDF is damaged")

OPTIONS = [
    {},
    {"mode": "tiny", "decode_tokens": 0},
    {"mode": "small", "prompt_tokens": 0, "attention": "flash"},
    {"mode": "base", "batch_size": 7, "implementation": "transformers"},
    {"mode": "large", "logits": "last", "by_layer": 1},
    {"mode": "gundam-m", "max_tiles": 32, "coverage": "max"},
    {"coverage": "min", "by_layer": 3, "cache": "in_place"},
    {"coverage": 17.5, "experts": "grouped", "elementwise": False},
    {"coverage": 0, "causal": "triangle", "position_ids": "batch"},
    {"implementation": "transformers", "attention": "flash", "by_layer": 100, "decode_tokens": 1},
    {"prompt_tokens": 10**30, "decode_tokens": 10**30, "batch_size": 10**30},
]


def data_of(analysis):
    """What a reader of the JSON file gets."""
    return json.loads(to_json(analysis))


def ints(value):
    """Every number of the exact fields, wherever it stands."""
    if isinstance(value, list):
        return [found for item in value for found in ints(item)]
    if not isinstance(value, dict):
        return []
    own = [value[name] for name in EXACT_FIELDS if name in value]
    return own + [found for item in value.values() for found in ints(item)]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))[:40] or "default")
def test_data_is_valid_under_every_option(validator, analysed, options):
    data = data_of(analysed(A4, BAD, RECEIPT, **options))
    validator.validate(data)
    assert {type(number) for number in ints(data)} == {int}
    for name, value in options.items():
        if name != "by_layer":
            assert {**data["conventions"], **data["workload"]}[name] == value
    assert all(("layers" in page["stages"]["run"]) == ("by_layer" in options) for page in data["pages"])


def test_data_without_a_page_is_valid(validator, analysed):
    data = data_of(analysed(BAD))
    validator.validate(data)
    assert (data["pages"], data["totals"]["stages"], len(data["errors"])) == ([], {}, 1)


def test_the_schema_lists_what_the_code_has(validator):
    check_schema(validator)
    schema, defs = validator.schema, validator.schema["$defs"]
    assert schema["properties"]["schema"] == {"const": "modelmeter.analysis/1"}
    assert defs["mode"]["enum"] == list(MODES)
    assert list(defs["stages"]["properties"]) == list(STAGES)
    assert list(defs["stage"]["properties"]["parts"]["properties"]) == list(PARTS)
    assert list(defs["figures"]["properties"]) == [*EXACT_FIELDS, *STAGE_FIELDS]
    assert list(defs["cost"]["properties"]) == list(LAYER_FIELDS)
    conventions = [field.name for field in attrs.fields(Conventions)]
    assert list(defs["conventions"]["properties"]) == [*conventions, "max_tiles", "notes"]
    workload = [field.name for field in attrs.fields(Workload) if field.name != "by_layer"]
    assert list(defs["workload"]["properties"]) == workload


def test_the_schema_lists_every_field_of_the_configuration(validator):
    own = validator.schema["$defs"]["config"]["properties"]
    for field in attrs.fields(DeepseekOCRConfig):
        if attrs.has(type(field.default)):
            assert set(own[field.name]["properties"]) == {f.name for f in attrs.fields(type(field.default))}
    assert set(own) == {field.name for field in attrs.fields(DeepseekOCRConfig)}


@pytest.fixture(scope="module")
def small(analysed):
    return data_of(analysed(RECEIPT, BAD, decode_tokens=1, by_layer=1))


def test_every_field_is_required(validator, small):
    for path in places(small):
        if path[-1:] in {("layers",), ("precision",)}:  # names of the model; what a precision is made of
            continue
        for name in at(small, path):
            is_optional = "stages" in path and name == "layers"
            assert (path, name, validator.is_valid(without(small, path, name))) == (path, name, is_optional)


def test_no_other_field_is_allowed(validator, small):
    for path in places(small):
        if path[-1:] == ("precision",):
            continue
        more = with_more(small, path, extra=1)
        assert (path, validator.is_valid(more)) == (path, False)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.analysis/2"),
        (("conventions",), "implementation", "vllm"),
        (("conventions",), "attention", "sdpa"),
        (("conventions",), "coverage", "expect"),
        (("conventions",), "coverage", -1),
        (("conventions",), "elementwise", 1),
        (("conventions",), "max_tiles", 1),
        (("conventions",), "notes", []),
        (("workload",), "batch_size", 0),
        (("workload",), "decode_tokens", -1),
        (("model",), "parameters", 0.5),
        (("model", "config", "decoder"), "mlp_layer_types", ["moe"]),
        (("pages", 0), "grid", [1]),
        (("pages", 0), "views", [[1, 1000]]),
        (("pages", 0), "width", 0),
        (("pages", 0), "mode", "custom"),
        (("pages", 0, "stages", "run"), "tensor_flops", -1),
        (("pages", 0, "stages", "run"), "tensor_flops", 1.5),
        (("pages", 0, "stages", "run"), "tensor_flops", "1"),
        (("pages", 0, "stages", "run"), "flops_tflops", None),
        (("pages", 0, "stages", "run"), "layers", {}),
        (("pages", 0, "stages", "run", "parts", "sam"), "kv_gb", -0.5),
        (("totals",), "stages", {}),
        (("totals",), "pages", 0),
        ((), "pages", []),
    ],
)
def test_wrong_values_are_refused(validator, small, path, name, value):
    assert validator.is_valid(small)
    assert not validator.is_valid(with_more(small, path, **{name: value}))


def test_data_is_what_the_json_says(document):
    plain = json.loads(json.dumps(analysis_data(document)))
    assert json.loads(to_json(document)) == plain
