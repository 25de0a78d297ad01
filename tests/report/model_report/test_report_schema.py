"""Reports against their published JSON Schema, and the schema against what it must refuse."""

import json
import runpy
from pathlib import Path

import pytest
from support.schema import at, check_schema, places, with_more, without

from modelmeter.documents import Page
from modelmeter.report.model_report.convert import to_json

SCHEMAS = Path(__file__).parents[3] / "src" / "modelmeter" / "report" / "schemas"
TOOL = Path(__file__).parents[3] / "tools" / "make_report_schema.py"


@pytest.mark.parametrize("name", ["timed", "plain"])
def test_reports_are_valid(schema, request, name):
    schema.validate(json.loads(to_json(request.getfixturevalue(name))))


@pytest.mark.parametrize(
    "options",
    [
        {"coverage": 17.5, "experts": "grouped", "device": "a100-80g", "execution": "fused"},
        {"coverage": 0, "elementwise": False, "decode_tokens": 0, "device": "h200"},
        {"implementation": "transformers", "mode": "tiny"},
    ],
    ids=str,
)
def test_reports_of_other_options_are_valid(schema, reported, options):
    schema.validate(json.loads(to_json(reported(Page("a.png", 1, 60, 62, "a"), **{"decode_tokens": 1, **options}))))


def test_the_schema_is_the_one_of_the_classes(schema):
    check_schema(schema)
    made = runpy.run_path(str(TOOL))["schema_text"]()
    assert made == (SCHEMAS / "report-1.schema.json").read_text(encoding="utf-8"), f"run {TOOL.name}"


@pytest.fixture(scope="module")
def small(reported):
    page = Page("a.png", 1, 60, 62, "a")
    data = json.loads(to_json(reported(page, decode_tokens=1, mode="tiny", device="h200")))
    tree = data["kinds"][0]["tree"]  # one branch of it is as good as all
    while tree["children"]:
        tree["children"] = [child for child in tree["children"] if child["snapshots"]][:1]
        tree = tree["children"][0]
    return {**data, "layer_formulas": data["layer_formulas"][:1]}


def of_names(path):
    """Whether what stands there has names of the model, or of a device, for keys."""
    return path[-1:] in {("weights",), ("snapshots",), ("stages",), ("parts",), ("totals",), ("symbols",)} or path[
        -1:
    ] in {("tensor",), ("vector",), ("calibration",)}


def test_every_field_is_required_and_no_other_is_allowed(schema, small):
    found = [path for path in places(small) if not of_names(path)]
    assert len(found) > 20  # kinds of objects
    for path in found:
        assert (path, schema.is_valid(with_more(small, path, extra=1))) == (path, False)
        for name in at(small, path):
            assert (path, name, schema.is_valid(without(small, path, name))) == (path, name, False)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.report/2"),
        ((), "kinds", {}),
        (("conventions",), "implementation", "vllm"),
        (("conventions",), "coverage", "some"),
        (("model",), "parameters", 0.5),
        (("profile",), "crops", 1),
        (("device",), "execution", "lazy"),
        (("device",), "bandwidth", "fast"),
        (("totals", "run", "cost"), "tensor_flops", -1),
        (("totals", "run", "cost"), "tensor_flops", 1.5),
        (("kinds", 0), "grid", [1]),
        (("kinds", 0, "tree"), "snapshots", {"training": {}}),
        (("kinds", 0, "tree"), "children", [1]),
        (("kinds", 0, "decode", 0), "step", "1"),
        (("kinds", 0, "roofline", 0), "stage", "run"),
    ],
)
def test_wrong_values_are_invalid(schema, small, path, name, value):
    assert schema.is_valid(small)
    assert not schema.is_valid(with_more(small, path, **{name: value}))
