"""Derived tables as JSON, CSV, Markdown and on a terminal; what cannot be asked for."""

import csv
import io
import json

import attrs
import pytest
from rich.console import Console
from support.schema import at, check_schema, places, validator_of, with_more, without

from modelmeter._version import ANALYTIC_MODEL_VERSION
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.catalogue import get_device
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.report.derived import export, render
from modelmeter.report.derived.derive import TABLES, derive_table
from modelmeter.report.derived.work import TableWork
from modelmeter.sweeps.shapes import Shape, read_shapes

OF_DEVICES = ["required-throughput", "vram-by-shape", "intensity-by-stage"]
TWO = [(1, 1), (2, 3)]


@pytest.fixture(scope="module")
def validator():
    return validator_of("table-1")


@pytest.fixture(scope="module")
def tables(derived):
    """Every table, and those that take devices with two of them."""
    devices = [get_device("h200"), get_device("rtx-4090")]
    plain = [derived(name, TWO, decode_tokens=2) for name in TABLES]
    return [*plain, *[derived(name, TWO, devices, decode_tokens=2) for name in OF_DEVICES]]


def data_of(table):
    """What a reader of the JSON file gets."""
    return json.loads(export.to_json(table))


def test_data_is_valid(validator, tables):
    check_schema(validator)
    for table in tables:
        data = data_of(table)
        validator.validate(data)
        assert data["analytic_model_version"] == ANALYTIC_MODEL_VERSION
        assert data["rows"] == list(table.rows)
        assert data["keys"][0] == "grid"
        rows = [tuple(row[name] for name in data["keys"]) for row in data["rows"]]
        assert len(set(rows)) == len(rows)  # the keys tell rows apart
        for column in data["columns"]:
            kinds = {type(row[column["name"]]) for row in data["rows"]}
            assert kinds <= ({int} if column["unit"] in ("B", "FLOP") else {str, bool, int, float})


@pytest.mark.parametrize(
    "options",
    [
        {"precision": Precision(weights="fp8", activations="fp8", kv="fp8", parts=("decoder", "lm_head"))},
        {"coverage": 17.5, "implementation": "transformers", "attention": "flash"},
        {"prompt_tokens": 0, "decode_tokens": 0, "batch_size": 10**12, "cache": "in_place", "reserve": 0.2},
        {"base_size": 640, "tile_size": 1024, "ttft": 1e-9, "tpot": 3, "logits": "last", "elementwise": False},
    ],
)
@pytest.mark.parametrize("name", TABLES)
def test_data_is_valid_under_other_options(validator, derived, name, options):
    validator.validate(data_of(derived(name, TWO, **options)))


def test_the_schema_lists_what_the_code_has(validator):
    schema, defs = validator.schema, validator.schema["$defs"]
    assert schema["properties"]["table"] == {"enum": list(TABLES)}
    assert list(defs["conventions"]["properties"]) == [*[f.name for f in attrs.fields(Conventions)], "notes"]
    assert list(schema["properties"]["workload"]["properties"]) == [field.name for field in attrs.fields(TableWork)]
    for name, kind in TABLES.items():
        row = defs[f"{name} row"]
        assert list(row["properties"]) == [column.name for column in (*kind.columns, *kind.device_columns)]
        assert row["required"] == [column.name for column in kind.columns]


def test_every_field_is_required_and_no_other_allowed(validator, tables):
    for table in tables:
        data = data_of(table)
        for path in places(data):
            assert (path, validator.is_valid(with_more(data, path, extra=1))) == (path, False)
            for name in at(data, path):
                assert (path, name, validator.is_valid(without(data, path, name))) == (path, name, False)


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.table/2"),
        ((), "table", "vram-by-shapes"),
        ((), "rows", []),
        (("rows", 0), "grid", "2 x 3"),
        (("rows", 0), "kv_cache_bytes", 1.5),
        (("rows", 0), "kv_cache_bytes", -1),
        (("rows", 0), "vendor", 1),
        (("columns", 0), "unit", "GiB"),
        (("workload",), "ttft", 0),
        (("conventions",), "attention", "sdpa"),
    ],
)
def test_the_schema_refuses(validator, tables, path, name, value):
    data = data_of(tables[0])
    assert data["table"] == "kvcache-by-shape"
    assert not validator.is_valid(with_more(data, path, **{name: value}))


def test_csv_has_the_same_numbers(tables):
    for table in tables:
        rows = list(csv.DictReader(io.StringIO(export.to_csv(table))))
        names = [column.name for column in table.columns]
        assert list(rows[0])[: len(names)] == names
        for row, expected in zip(rows, table.rows, strict=True):
            read = {name: _read(row[name]) for name in names}
            assert read == expected
            assert (row["decode_tokens"], row["analytic_model_version"]) == ("2", ANALYTIC_MODEL_VERSION)
            assert row["conventions"].startswith("implementation=vendor attention=eager")


def _read(cell):
    try:
        return json.loads(cell)
    except json.JSONDecodeError:
        return cell


def test_markdown_has_every_row_and_what_it_rests_on(tables):
    for table in tables:
        lines = render.to_markdown(table).splitlines()
        assert lines[0] == f"# {table.kind.title}"
        cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("|")]
        assert len({len(row) for row in cells}) == 1
        assert len(cells) == 2 + len(table.rows)
        assert [row[0] for row in cells[2:]] == [row["grid"] for row in table.rows]
        assert len(table.notes) <= 5 and all(" " in note for note in table.notes)
        assert [f"- {note}" for note in table.notes if f"- {note}" not in lines] == []
        assert "- logits: all; causal scores: full" in lines


def test_numbers_as_people_read_them(derived):
    lines = render.to_markdown(derived("kvcache-by-shape", [(2, 3)])).splitlines()
    # 61,440 B are 60 KiB; 913 of them 53.5 MiB, 512 30 MiB, both 83.5 MiB; 90 blocks of 16 tokens 84.4 MiB
    row = "| 2x3 | yes | 903 | 913 | 60.0 KiB | 53.5 MiB | 30.0 MiB | 83.5 MiB | 84.4 MiB |"
    assert row in lines


def test_on_a_terminal(tables):
    for table in tables:
        plain = Console(file=io.StringIO(), width=80)
        render.print_derived(table, plain)
        text = plain.file.getvalue()
        assert table.kind.title in text and "2x3" in text and "\x1b" not in text
        drawn = [line for line in text.splitlines() if line.startswith("|")]
        assert len(drawn) == 2 + len(table.rows)
        assert max(len(line) for line in drawn) <= 160


def test_rows_out_of_reach_catch_the_eye(derived):
    table = derived("required-throughput", TWO, [get_device("rtx-4090")], ttft=0.001, decode_tokens=2)
    grid = render.grid_of(table)
    assert [table.rows[i]["target"] for i in sorted(grid.marked)] == ["ttft", "ttft"]
    assert grid.rules == {2}  # after the rows of the first shape


def test_the_defaults_are_the_released_model_and_the_shapes_that_come_along():
    table = derive_table("kvcache-by-shape")
    assert [row["grid"] for row in table.rows] == [shape.label for shape in read_shapes()]
    assert (table.model.conventions, table.work) == (Conventions(), TableWork())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "kv"}, "unknown table 'kv': choose among kvcache-by-shape"),
        ({"name": "kvcache-by-shape", "devices": ["h200"]}, "a device changes nothing in kvcache-by-shape"),
        ({"name": "vram-by-shape", "devices": ["h200", "h200"]}, "the device h200 is named twice"),
        ({"name": "vram-by-shape", "shapes": []}, "no shapes"),
        ({"name": "vram-by-shape", "shapes": [(2, 3), (2, 3)]}, "2x3 is given twice"),
    ],
)
def test_what_cannot_be_asked(arguments, words):
    devices = [get_device(name) for name in arguments.pop("devices", [])]
    if "shapes" in arguments:
        arguments["shapes"] = [Shape.of(*grid) for grid in arguments["shapes"]]
    with pytest.raises(ModelMeterError, match=words):
        derive_table(**arguments, devices=devices)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt_tokens", -1),
        ("decode_tokens", 1.5),
        ("batch_size", 0),
        ("ttft", 0),
        ("ttft", float("nan")),
        ("tpot", float("inf")),
        ("tpot", "fast"),
    ],
)
def test_work_that_cannot_be(field, value):
    with pytest.raises(ModelMeterError, match=field):
        TableWork(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"), [("base_size", 1000), ("tile_size", 0), ("tile_size", 650), ("reserve", "much")]
)
def test_sides_and_reserves_that_cannot_be(derived, field, value):
    with pytest.raises(ModelMeterError, match=field):
        derived("vram-by-shape", [(2, 3)], [get_device("h200")], **{field: value})


@pytest.mark.parametrize("name", TABLES)
def test_a_model_with_other_patches(name):
    config = attrs.evolve(DeepseekOCRConfig(), sam=attrs.evolve(DeepseekOCRConfig().sam, patch_size=32))
    with pytest.raises(ModelMeterError, match="planned for patches of 16 px"):
        derive_table(name, model=DeepseekOCRModel.from_config(config))
