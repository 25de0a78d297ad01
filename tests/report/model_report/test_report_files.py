"""A report as JSON and YAML: it comes back as it was, and what is no report of this version is refused."""

import json
import re

import attrs
import pytest

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.documents import Page
from modelmeter.report.model_report.convert import from_data, from_json, from_yaml, to_data, to_json, to_yaml

RECEIPT = Page("b.png", 1, 600, 620, "b.png")
OPTIONS = [
    {"implementation": "transformers", "attention": "flash", "decode_tokens": 0},
    {"coverage": 17.5, "elementwise": False, "mode": "base"},
    {"coverage": 0, "causal": "triangle", "batch_size": 2},
    {"batch_size": 10**15, "mode": "tiny"},  # integers beyond what a float holds
]


@pytest.fixture(scope="module")
def data(plain):
    return json.loads(to_json(plain))


def test_json_comes_back_identical(timed):
    text = to_json(timed)
    assert from_json(text) == timed
    assert to_json(from_json(text)) == text


def test_yaml_comes_back_identical_and_is_the_same(plain):
    text = to_yaml(plain)
    back = from_yaml(text)
    assert back == plain == from_json(to_json(plain))
    assert to_yaml(back) == text


def test_names_of_files_come_back_whatever_they_are(reported):
    names = ["\udcff.png", "a\nb.png", "é|<b>.png", "\N{PAGE FACING UP}.png", " - 'x': y #"]
    report = reported(*[Page(name, 1, 600, 620, "label") for name in names], decode_tokens=0, mode="tiny")
    texts = [to_json(report).encode("utf-8", "backslashreplace"), to_yaml(report).encode("utf-8", "backslashreplace")]
    for read, text in zip((from_json, from_yaml), texts, strict=True):
        assert [document.source for document in read(text.decode()).documents] == names


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_reports_of_other_workloads_come_back_identical(reported, options):
    report = reported(RECEIPT, **{"decode_tokens": 1, **options})
    text = to_json(report)
    assert from_json(text) == report
    assert to_json(from_json(text)) == text


def test_integers_stay_exact(plain):
    large = 2**70 + 1
    stage = attrs.evolve(plain.totals["run"], cost=StageCost(cost=Cost(tensor_flops=large)), parts={})
    report = attrs.evolve(plain, totals={"run": stage})
    for back in (from_json(to_json(report)), from_yaml(to_yaml(report))):
        assert back.totals["run"].cost.cost.tensor_flops == large


def test_units_stand_beside_the_exact_numbers(data, plain):
    found, cost = data["totals"]["prefill"]["cost"], plain.totals["prefill"].cost
    assert found["flops"] == found["tensor_flops"] + found["cuda_flops"] == cost.cost.flops
    assert found["io_bytes"] == found["weight_bytes"] + found["activation_bytes"] + found["kv_bytes"]
    assert found["flops_tflops"] == found["flops"] / 1e12
    assert found["weights_gb"] == found["weights_resident_bytes"] / 2**30


def test_what_follows_from_the_rest_is_not_read(data, plain):
    changed = json.loads(json.dumps(data))
    changed["totals"]["prefill"]["cost"]["flops"] = 1
    changed["profile"]["decode_steps"] = 77
    assert from_data(changed) == plain


@pytest.mark.parametrize("version", ["modelmeter.report/0", "modelmeter.report/2"])
def test_other_versions_are_refused_with_the_way_out(data, version):
    with pytest.raises(ModelMeterError, match=f"schema {version} is not read by .* reads modelmeter.report/1: write"):
        from_data({**data, "schema": version})


@pytest.mark.parametrize(
    ("foreign", "reason"),
    [
        ({}, "no schema"),
        ([], "no schema"),
        (None, "no schema"),
        ({"schema": "modelmeter.analysis/1"}, "schema 'modelmeter.analysis/1'"),
        ({"schema": 1}, "schema 1"),
    ],
)
def test_what_is_no_report_is_refused(foreign, reason):
    with pytest.raises(ModelMeterError, match=f"{re.escape(reason)} where modelmeter.report/1 should be"):
        from_data(foreign)


@pytest.mark.parametrize("read", [from_json, from_yaml])
def test_text_that_is_neither_is_refused_in_one_line(read):
    with pytest.raises(ModelMeterError, match=r"this is no (JSON|YAML)") as refused:
        read("{[}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        (("model", "parameters"), "3336106240", "parameters"),
        (("model", "parameters"), 0, "parameters"),
        (("model", "parameters"), 1.5, "parameters"),
        (("profile", "text_tokens"), -1, "text_tokens"),
        (("profile", "crops"), 1, "crops"),
        (("conventions", "attention"), "sdpa", "attention"),
        (("conventions", "coverage"), 65, "coverage"),
        (("totals", "run", "cost", "tensor_flops"), -1, "cost"),
        (("totals", "run", "cost", "tensor_flops"), 1.0, "cost"),
        (("totals", "run", "cost", "tensor_flop"), 1, "tensor_flop"),
        (("kinds", 0, "extra"), 1, "extra"),
        (("kinds", 0, "tree", "repeats"), 2, "stands for 2"),
        (("kinds", 0, "pages"), 2, "pages"),
        (("documents", 0, "pages", 0, "kind"), 1, "kind 1"),
        (("documents",), [], "pages"),
    ],
)
def test_wrong_values_are_refused_by_name(data, path, value, where):
    changed = json.loads(json.dumps(data))
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ModelMeterError, match=where):
        from_data(changed)


def test_data_is_plain(timed):
    def kinds(value):
        if isinstance(value, dict):
            return {type(value), *(type(name) for name in value)}.union(*map(kinds, value.values()))
        if isinstance(value, list):
            return {list}.union(*map(kinds, value))
        return {type(value)}

    assert kinds(to_data(timed)) <= {dict, list, str, int, float, bool, type(None)}
