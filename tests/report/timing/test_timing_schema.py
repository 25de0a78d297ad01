"""Times as data against their published JSON Schema, and the schema against what it must refuse."""

import json

import attrs
import pytest
from support.schema import at, check_schema, places, with_more, without

from modelmeter.core.precision import Precision
from modelmeter.hardware.machine import EXECUTIONS
from modelmeter.hardware.page_time import LEVELS
from modelmeter.hardware.timeline import RESOURCES
from modelmeter.report.analysis import Workload
from modelmeter.report.timing.export import TOTALS, timing_data, to_json, to_yaml
from modelmeter.report.timing.timing import Wanted

from .conftest import A4, BAD, RECEIPT

OPTIONS = [
    {},
    {"mode": "tiny", "decode_tokens": 0, "execution": "graph"},
    {"mode": "small", "prompt_tokens": 0, "execution": "fused", "attention": "flash"},
    {"mode": "base", "batch_size": 7, "implementation": "transformers", "device": "cpu"},
    {"mode": "large", "logits": "last", "by_layer": 1, "calibrated": True},
    {"mode": "gundam-m", "max_tiles": 32, "coverage": "max", "device": "mi300x"},
    {"experts": "grouped", "cache": "in_place", "by_layer": 3, "device": "t4"},
    {"precision": Precision(weights="int4", kv="fp8"), "device": "rtx-4090"},
    {"precision": Precision(weights="fp8", activations="fp8"), "device": "tpu-v5e", "calibrated": True},
    {"host": 0.0, "wanted": Wanted(ttft=0.5)},
    {"host": 0.25, "wanted": Wanted(ttft=0.5, tpot=0.01), "given_host_seconds": 0.0},
    {"device": "made-up", "by_layer": 100, "calibrated": True, "execution": "fused"},
    {"batch_size": 10**30, "decode_tokens": 2},
    {"prompt_tokens": 10**30, "decode_tokens": 2},
]


def data_of(timing):
    """What a reader of the JSON file gets; NaN and infinity are no JSON."""
    return json.loads(to_json(timing), parse_constant=pytest.fail)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: "-".join(map(str, options.values()))[:40] or "default")
def test_data_is_valid_under_every_option(validator, timed, options):
    data = data_of(timed(A4, BAD, RECEIPT, **{"decode_tokens": 3, **options}))
    validator.validate(data)
    for name, value in options.items():
        if name in ("mode", "max_tiles", "prompt_tokens", "decode_tokens", "batch_size"):
            assert data["workload"][name] == value
        elif name in data["conventions"]:
            assert data["conventions"][name] == value
    assert data["device"]["execution"] == options.get("execution", "eager")
    for page in data["pages"]:
        assert all(("layers" in stage) == ("by_layer" in options) for stage in page["stages"].values())
        assert ("calibrated" in page["total"]) == ("calibrated" in options)
        assert set(page["required"]) == set(attrs.asdict(options.get("wanted", Wanted()), filter=lambda _, v: v))


def test_data_without_a_page_is_valid(validator, timed):
    data = data_of(timed(BAD))
    validator.validate(data)
    assert (data["pages"], data["errors"]) == ([], [{"source": "c.pdf", "message": "the PDF is damaged"}])


def test_the_schema_lists_what_the_code_has(validator):
    check_schema(validator)
    schema, defs = validator.schema, validator.schema["$defs"]
    assert schema["properties"]["schema"] == {"const": "modelmeter.time/1"}
    assert schema["properties"]["device"]["properties"]["execution"]["enum"] == list(EXECUTIONS)
    assert list(defs["levels"]["properties"]) == list(LEVELS)
    assert list(defs["stage"]["properties"]["waits"]["properties"]) == list(RESOURCES)
    workload = [field.name for field in attrs.fields(Workload) if field.name != "by_layer"]
    assert list(schema["properties"]["workload"]["properties"]) == workload
    page = schema["properties"]["pages"]["items"]["properties"]
    assert set(TOTALS) <= set(page)
    assert set(page["required"]["properties"]) == {field.name for field in attrs.fields(Wanted)}


@pytest.fixture(scope="module")
def small(timed):
    wanted = Wanted(ttft=1.0, tpot=0.1)
    return data_of(timed(RECEIPT, BAD, decode_tokens=1, by_layer=1, calibrated=True, wanted=wanted))


OPEN = ("conventions", "precision", "peaks", "parts", "layers", "calibration")  # their names are others' to choose
OPTIONAL = ("layers", "calibrated", "ttft", "tpot")


def test_every_field_is_required(validator, small):
    for path in places(small):
        if path[-1:] and path[-1] in OPEN:
            continue
        for name in at(small, path):
            is_optional = name in OPTIONAL and (path[-1:] == ("required",) or name in ("layers", "calibrated"))
            assert (path, name, validator.is_valid(without(small, path, name))) == (path, name, is_optional)


def test_no_other_field_is_allowed(validator, small):
    for path in places(small):
        if not (path[-1:] and path[-1] in OPEN):
            more = with_more(small, path, extra=1)
            assert (path, validator.is_valid(more)) == (path, False)


STAGE = ("pages", 0, "stages", "decode")


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.time/2"),
        ((), "pages", {}),
        (("conventions",), "notes", [1]),
        (("device",), "execution", "lazy"),
        (("device",), "bandwidth", -1),
        (("device",), "memory_bytes", 1.5),
        (("device", "peaks"), "bf16", "989e12"),
        (("workload",), "batch_size", 0),
        (("workload",), "decode_tokens", -1),
        (("pages", 0), "grid", [1]),
        (("pages", 0), "context_len", 0),
        (("pages", 0), "host_seconds", -0.1),
        (("pages", 0, "total"), "bound", None),
        (("pages", 0, "total"), "roofline", -1.0),
        (("pages", 0, "total"), "measured", 1.0),
        (STAGE, "binds", "host"),
        (STAGE, "mfu", 1.1),
        (STAGE, "mbu", -0.1),
        (STAGE, "needed_flops", 0.5),
        (STAGE, "kernels", -1),
        ((*STAGE, "waits"), "tensor", -1e-9),
        ((*STAGE, "parts", "lm_head"), "binds", "cpu"),
        ((*STAGE, "parts", "lm_head"), "seconds", "1 ms"),
        (("pages", 0, "required", "ttft"), "flops", None),
    ],
)
def test_wrong_values_are_refused(validator, small, path, name, value):
    assert validator.is_valid(small)
    assert not validator.is_valid(with_more(small, path, **{name: value}))


def test_json_and_yaml_are_the_data(document):
    import yaml

    plain = json.loads(json.dumps(timing_data(document)))
    assert json.loads(to_json(document)) == plain
    assert yaml.safe_load(to_yaml(document)) == plain
