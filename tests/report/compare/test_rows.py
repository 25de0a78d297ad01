"""How results become rows: by what a value is of, never by its place in a list."""

import json

import pytest
from support.schema import validator_of

from modelmeter.documents import Page
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.roofline import machine_of
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report import export, fit
from modelmeter.report.analysis import Workload, analyze
from modelmeter.report.compare.layouts import HEADER, LAYOUTS
from modelmeter.report.compare.read import read_result
from modelmeter.report.timing import export as timing_export
from modelmeter.report.timing.timing import time_pages, with_times

from .conftest import HEAD, analysis

SETTINGS = {"kinds"}  # what a plan was asked
A4 = Page("a.pdf", 1, 1654, 2339, "a.pdf p1")
RECEIPT = Page("b.png", 1, 600, 620, "b.png")


def test_a_value_is_of_its_page_and_stage(rows):
    found = rows(analysis(("a.pdf", 1, {"decode": {"io_bytes": 7}}), ("a.pdf", 2, {"decode": {"io_bytes": 8}})))
    assert found == {("a.pdf", 1, "decode"): {"io_bytes": 7}, ("a.pdf", 2, "decode"): {"io_bytes": 8}}


def test_parts_layers_and_totals(rows):
    stage = {"io_bytes": 5, "parts": {"sam": {"io_bytes": 3}}, "layers": {"model.norm": {"io_bytes": 2}}}
    found = rows(analysis(("a.pdf", 1, {"run": stage}), totals={"pages": 1, "stages": {"run": {"io_bytes": 5}}}))
    assert found == {
        ("a.pdf", 1, "run"): {"io_bytes": 5},
        ("a.pdf", 1, "run", "sam"): {"io_bytes": 3},
        ("a.pdf", 1, "run", "model.norm"): {"io_bytes": 2},
        ("all",): {"pages": 1},
        ("all", "run"): {"io_bytes": 5},
    }


def test_what_is_there_twice_is_numbered(rows):
    page = ("a.pdf", 1, {"run": {"io_bytes": 5}})
    assert set(rows(analysis(page, page, page))) == {
        ("a.pdf", 1, "run"),
        ("a.pdf", 1, 2, "run"),
        ("a.pdf", 1, 3, "run"),
    }


def test_other_objects_are_dotted_names(rows):
    page = {"source": "a.pdf", "page": 1, "ttft": {"bound": 0.5}, "stages": {"decode": {"waits": {"memory": 0.25}}}}
    found = rows({"schema": "modelmeter.time/1", **HEAD, "pages": [page]})
    assert found == {("a.pdf", 1): {"ttft.bound": 0.5}, ("a.pdf", 1, "decode"): {"waits.memory": 0.25}}


def test_units_for_readers_are_left_to_the_exact_integers(rows):
    stage = {"kv_cache_bytes": 2**30, "kv_gb": 1.0, "arithmetic_intensity": 3.0}
    found = rows(analysis(("a.pdf", 1, {"run": stage})))
    assert found[("a.pdf", 1, "run")] == {"kv_cache_bytes": 2**30, "arithmetic_intensity": 3.0}


def test_lists_of_words_and_missing_values_are_values(rows):
    page = {"source": "a.pdf", "page": 1, "grid": [2, 3], "limit": None, "fits": True}
    assert rows(analysis(pages=[page])) == {("a.pdf", 1): {"grid": "[2, 3]", "limit": None, "fits": True}}


def test_points_of_a_sweep_are_of_their_dimensions(rows):
    cost = {"flops": 9, "times": [{"device": "h200", "execution": "graph", "seconds": 0.5}]}
    point = {
        "dimensions": {"grid": "2x3", "batch_size": 4},
        "context_len": 913,
        "decode_stagecost": {"decode_eager": cost},
    }
    found = rows({"schema": "modelmeter.sweep/1", **HEAD, "model": "ocr", "study": "decode", "points": [point]})
    assert found == {
        ("2x3", 4): {"context_len": 913},
        ("2x3", 4, "decode_eager"): {"flops": 9},
        ("2x3", 4, "decode_eager", "h200", "graph"): {"seconds": 0.5},
    }


def test_a_point_without_dimensions_is_the_whole_sweep(rows):
    data = {"schema": "modelmeter.sweep/1", **HEAD, "points": [{"dimensions": {}, "context_len": 913}]}
    assert rows(data) == {(): {"context_len": 913}}


def test_points_of_a_scaling_file_are_of_their_length(rows):
    points = [{"seq_len_prefill": length, "prefill": {"flops_tflops": length / 4}} for length in (256, 512)]
    found = rows({"schema": "modelmeter.scaling/1", **HEAD, "batch_size": 1, "points": points})
    assert found == {(256,): {"prefill.flops_tflops": 64.0}, (512,): {"prefill.flops_tflops": 128.0}}


def test_a_table_names_its_keys(rows):
    table = {"schema": "modelmeter.table/1", **HEAD, "table": "vram", "keys": ["grid", "device"]}
    found = rows({**table, "rows": [{"grid": "2x3", "device": "h200", "free_bytes": 5}]})
    assert found == {("2x3", "h200"): {"free_bytes": 5}}


def test_modules_of_a_report_are_of_their_paths(rows):
    inner = {"path": "model.norm", "weights_bytes": 2, "snapshots": {"decode": {"calls": 1}}}
    tree = {"path": "model", "weights_bytes": 5, "children": [inner]}
    kind = {"mode": "base", "grid": [1, 1], "views": [[1, 1024]], "tree": {"path": "", "children": [tree]}}
    found = rows({"schema": "modelmeter.report/1", **HEAD, "kinds": [kind]})
    of = ("base", "[1, 1]", "[[1, 1024]]")
    assert found == {
        of: {"tree.path": ""},
        (*of, "model"): {"tree.weights_bytes": 5},
        (*of, "model.norm"): {"tree.weights_bytes": 2},
        (*of, "model.norm", "decode"): {"tree.calls": 1},
    }


# What the program writes


@pytest.fixture(scope="module")
def results():
    """Text of each kind of result, by schema."""
    machine = machine_of("h200", execution="eager")
    work = Workload(decode_tokens=3, by_layer=2)
    found = with_times(analyze([A4, RECEIPT], workload=work), machine)
    timing = time_pages([A4, RECEIPT], machine, workload=work)
    fitted = fit.fit_pages([A4, RECEIPT], model=DeepseekOCRModel.from_config(), device=get_device("rtx-4090"))
    return {
        "modelmeter.analysis/1": export.to_json(found),
        "modelmeter.time/1": timing_export.to_json(timing),
        "modelmeter.fit/1": fit.to_json(fitted),
    }


@pytest.mark.parametrize("schema", ["modelmeter.analysis/1", "modelmeter.time/1", "modelmeter.fit/1"])
def test_every_list_of_objects_is_joined(results, written, schema):
    """A list of objects that no layout names would be one long word."""
    found = read_result(written(results[schema]))
    words = [value for values in found.rows.values() for value in values.values() if isinstance(value, str)]
    assert found.rows and not [word for word in words if word.startswith("[{")]


def test_times_in_an_analysis_are_those_of_a_time_file(results, written):
    """Both say some things twice (bytes moved, tokens): the same."""
    in_analysis = read_result(written(results["modelmeter.analysis/1"], "a.json")).rows
    in_time = read_result(written(results["modelmeter.time/1"], "b.json")).rows
    assert set(in_time) <= set(in_analysis)
    for key, values in in_time.items():
        assert {name: in_analysis[key][name] for name in values} == values


def test_every_exact_number_of_an_analysis_is_a_value(results, written):
    data = json.loads(results["modelmeter.analysis/1"])
    rows = read_result(written(data)).rows
    for page in data["pages"]:
        for stage, numbers in page["stages"].items():
            for part, cost in numbers["parts"].items():
                of = {"source": page["source"], "page": page["page"], "stage": stage, "part": part}
                values = rows[tuple(of.items())]
                assert {name: values[name] for name in export.EXACT_FIELDS} == {n: cost[n] for n in export.EXACT_FIELDS}


@pytest.mark.parametrize("schema", sorted(LAYOUTS))
def test_a_layout_is_of_a_published_schema(schema):
    """What a layout names, the schema has."""
    kind, version = schema.removeprefix("modelmeter.").split("/")
    names = set(_names(validator_of(f"{kind}-{version}").schema))
    layout = LAYOUTS[schema]
    named = {*layout.groups, *layout.whole, *layout.sections, *layout.settings, *layout.lists}
    assert named <= names


@pytest.mark.parametrize("schema", sorted(LAYOUTS))
def test_a_layout_knows_every_list_of_objects(schema):
    """A new list of a schema needs what names its objects, or a place among what is left out."""
    kind, version = schema.removeprefix("modelmeter.").split("/")
    published, layout = validator_of(f"{kind}-{version}").schema, LAYOUTS[schema]
    known = {*layout.lists, *layout.repeats, *layout.settings, *HEADER}
    assert set(_lists(published, published.get("$defs", {}))) <= known


def _lists(schema, defs):
    """Names of the properties that are lists of objects; what stands inside settings or is left out, too."""
    if isinstance(schema, list):
        return [name for item in schema for name in _lists(item, defs)]
    if not isinstance(schema, dict):
        return []
    found = [name for item in schema.values() for name in _lists(item, defs)]
    for name, value in schema.get("properties", {}).items():
        items = value.get("items", {}) if isinstance(value, dict) else {}
        while isinstance(items, dict) and "$ref" in items:
            items = defs[items["$ref"].rpartition("/")[2]]
        if isinstance(items, dict) and items.get("type") == "object" and name not in SETTINGS:
            found.append(name)
    return found


def _names(schema):
    if isinstance(schema, list):
        return [name for item in schema for name in _names(item)]
    if not isinstance(schema, dict):
        return []
    own = list(schema.get("properties", {}))
    return own + [name for item in schema.values() for name in _names(item)]
