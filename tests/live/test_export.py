"""A verification as data: against its published JSON Schema, and the schema against what it must refuse."""

import json
from datetime import date
from importlib.metadata import version

import attrs
import pytest
from support.schema import at, check_schema, places, with_more, without

from modelmeter import Conventions, ViewPlan, __version__
from modelmeter.live.verification.compare import OperatorCheck, Quantity
from modelmeter.live.verification.export import to_json, verification_data
from modelmeter.live.verification.selection import select
from modelmeter.live.verification.verify import STAGES

REPORTS = ["report", "sound_report", "broken_report", "nothing"]


@pytest.mark.parametrize("name", REPORTS)
def test_data_is_valid(validator, name, request):
    data = json.loads(to_json(request.getfixturevalue(name)))
    validator.validate(data)
    assert data["date"] == date.today().isoformat() or data["date"]  # UTC may be another day
    assert data["modelmeter_version"] == __version__
    assert data["torch_version"] == version("torch")
    assert data["transformers_version"] == version("transformers")


def test_integers_are_exact_and_complete(report):
    data = verification_data(report, date(2026, 1, 2))
    assert data["date"] == "2026-01-02"
    for each, comparison in zip(data["comparisons"], report.comparisons, strict=True):
        assert (each["stage"], each["step"], each["ok"]) == (comparison.point.stage, comparison.point.step, True)
        for found, row in zip([each["total"], *each["layers"]], comparison.rows, strict=True):
            assert (found["path"], found["layer"], found["times"]) == (row.path, row.layer, row.times)
            for check in row.checks:
                numbers = found["checks"][check.quantity]
                assert (numbers["measured"], numbers["analytic"]) == (check.measured, check.analytic)
                assert {type(numbers[name]) for name in ("measured", "analytic", "difference")} == {int}
            assert [operator["name"] for operator in found["operators"]] == [op.name for op in row.operators]


def test_what_is_wrong_is_in_the_data(broken_report):
    data = json.loads(to_json(broken_report))
    vision = data["comparisons"][0]
    assert (data["ok"], vision["ok"], vision["total"]["ok"]) == (False, False, False)
    assert vision["total"]["checks"]["counted_flops"]["difference"] == 128
    assert vision["total"]["only_measured"] == ["aminmax"]
    assert vision["unpriced"] == [{"name": "fft", "path": "model.sam_model.neck", "calls": 3}]
    splice = vision["layers"][-1]["checks"]["activation_bytes"]
    assert (splice["measured"], splice["relative"], splice["ok"]) == (0, None, False)


def test_only_layers_have_no_total(validator, sound):
    data = verification_data(select(sound, only_layers=True))
    validator.validate(data)
    assert [each["total"] for each in data["comparisons"]] == [None, None, None]


def test_views_and_routing(sound_report):
    vision, step, _ = verification_data(sound_report)["comparisons"]
    assert vision["views"] == {"grid": [2, 3], "views": [[6, 640], [1, 1024]], "image_tokens": 903}
    assert vision["views"]["image_tokens"] == ViewPlan.from_grid((2, 3)).image_tokens
    assert step["routing"] == {"hit": [4, 5, 3], "expected": 4.5, "num_experts": 8}
    assert (vision["routing"], step["views"]) == (None, None)


def test_the_schema_lists_what_the_code_has(validator):
    check_schema(validator)
    defs = validator.schema["$defs"]
    assert defs["comparison"]["properties"]["stage"]["enum"] == list(STAGES)
    assert list(defs["row"]["properties"]["checks"]["properties"]) == list(Quantity.__args__)
    assert list(defs["conventions"]["properties"]) == [field.name for field in attrs.fields(Conventions)]
    operator = [field.name for field in attrs.fields(OperatorCheck)]
    assert sorted(defs["operator"]["properties"]) == sorted([*operator, "ok"])


@pytest.fixture(scope="module")
def data(broken_report):
    return json.loads(to_json(broken_report))


def test_every_field_is_required_and_no_other_is_allowed(validator, data):
    assert validator.is_valid(data)
    for path in places(data):
        assert (path, validator.is_valid(with_more(data, path, extra=1))) == (path, False)
        for name in at(data, path):
            is_optional = path[-1:] == ("checks",)
            assert (path, name, validator.is_valid(without(data, path, name))) == (path, name, is_optional)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.verification/2"),
        ((), "date", "today"),
        ((), "ok", "yes"),
        (("conventions",), "attention", "sdpa"),
        (("comparisons", 0), "stage", "all"),
        (("comparisons", 0), "batch", 0),
        (("comparisons", 0), "step", -1),
        (("comparisons", 0, "views"), "grid", [1]),
        (("comparisons", 0, "total"), "checks", {}),
        (("comparisons", 0, "total"), "times", 0),
        (("comparisons", 0, "total", "checks", "counted_flops"), "measured", 0.5),
        (("comparisons", 0, "total", "checks", "counted_flops"), "bound", -0.1),
        (("comparisons", 0, "total", "operators", 0), "measured_calls", -1),
        (("comparisons", 1, "routing"), "num_experts", 0),
    ],
)
def test_wrong_values_are_refused(validator, data, path, name, value):
    assert not validator.is_valid(with_more(data, path, **{name: value}))
