"""sweep.json: the keys that readers rely on, exact integers, its schema, and the whole way there and back."""

import json

import pytest
import xarray as xr
from support.schema import at, check_schema, places, validator_of, with_more, without

from modelmeter import ModelMeterError
from modelmeter.core.cost import STAGE_FIELDS
from modelmeter.report.study import points as points_module
from modelmeter.report.study import read_study
from modelmeter.report.study.data import study_data, to_json
from modelmeter.report.study.scaling import scaling_data, scaling_files
from modelmeter.sweeps.quantities import QUANTITIES

from .conftest import COMMAND

TOKEN = 2 * 12 * 10 * 128 * 2  # bytes that a token holds: keys and values, layers, heads, width, bf16
GLOBAL = 16 * 17 + 1  # tokens of the global view of 1024
CROPS = [0, 21 * 30, 51 * 20]  # (10 w + 1) * 10 h of 2 x 3 and 5 x 2 tiles
NAMES = (
    "vision",
    "modes",
    "prefill",
    "decode",
    "seq-len",
    "kv-heads",
    "precision",
    "device",
    "pages",
    "conventions",
    "one point",
    "times alone",
    "beyond int64",
    "one stage beyond int64",
)


@pytest.fixture(scope="module")
def data(decode_study):
    """What a reader of the file gets."""
    return json.loads(to_json(decode_study, COMMAND))


def test_every_study_is_what_the_schema_says(studies, validator):
    assert set(studies) == set(NAMES)
    for study in studies.values():
        validator.validate(json.loads(to_json(study)))


def test_a_point_says_what_it_is_of(data):
    points = data["points"]
    assert [point["dimensions"] for point in points] == [{"grid": "1x1"}, {"grid": "2x3"}, {"grid": "5x2"}]
    assert [point["image_tokens_crops"] for point in points] == CROPS
    assert [point["image_tokens_total"] for point in points] == [GLOBAL + crops for crops in CROPS]
    assert [(point["width_crop_num"], point["height_crop_num"]) for point in points] == [(1, 1), (2, 3), (5, 2)]
    assert [point["context_len"] for point in points] == [GLOBAL + crops + 10 for crops in CROPS]
    assert {(point["decode_steps"], point["batch_size"]) for point in points} == {(4, 1)}


def test_the_costs_are_under_their_names(data, studies):
    for point in data["points"]:
        assert set(point["prefill_stagecost"]) == {"prefill_eager", "prefill_flash"}
        assert set(point["decode_stagecost"]) == {"decode_eager", "decode_flash"}
    for point in study_data(studies["prefill"])["points"]:
        assert set(point["stage_costs"]) == {"vision", "vision_flash"}
    (one,) = study_data(studies["one point"])["points"]
    assert set(one["decode_stagecost"]) == {"decode_eager"}


def test_a_cost_is_exact_and_in_units(data):
    for point in data["points"]:
        cost = point["decode_stagecost"]["decode_flash"]
        assert cost["kv_cache_bytes"] == (point["context_len"] + 4) * TOKEN
        assert cost["kv_gb"] == cost["kv_cache_bytes"] / 2**30
        assert cost["flops_tflops"] == (cost["tensor_flops"] + cost["cuda_flops"]) / 1e12
        assert cost["io_tb"] == pytest.approx(cost["io_bytes"] * 8 / 1e12, rel=1e-15)
        assert {type(cost[name]) for name in QUANTITIES if name.endswith(("flops", "bytes"))} == {int}
        assert {type(cost[name]) for name in STAGE_FIELDS} == {float}
        assert [time["device"] for time in cost["times"]] == ["h200", "a100-40g"]


def test_what_holds_for_all_of_it(data):
    assert data["command"] == COMMAND
    assert data["model"] == "deepseek-ai/DeepSeek-OCR"
    assert data["conventions"]["attention"] == "varied"
    assert data["conventions"]["implementation"] == "vendor"
    lines = " ".join(data["conventions"]["notes"])
    assert "attention: eager" in lines and "attention: flash" in lines
    assert "decode is one token" not in lines  # it is several here


def test_vision_alone_has_no_context(studies):
    for point in study_data(studies["vision"])["points"]:
        assert (point["context_len"], point["decode_steps"]) == (None, 0)


@pytest.mark.parametrize("name", NAMES)
def test_there_and_back(studies, tmp_path, name):
    study = studies[name]
    path = tmp_path / "anything.json"
    path.write_text(to_json(study), encoding="utf-8")
    back = read_study(path)
    assert (back.name, back.description, back.warnings) == (study.name, study.description, study.warnings)
    assert list(back.datasets) == list(study.datasets)
    for stage, dataset in study.datasets.items():
        xr.testing.assert_identical(back.datasets[stage], dataset)
        assert {n: v.dtype for n, v in back.datasets[stage].data_vars.items()} == {
            n: v.dtype for n, v in dataset.data_vars.items()
        }


def test_too_many_points_are_refused(studies, monkeypatch):
    monkeypatch.setattr(points_module, "MOST_COSTS", 3 * 2 - 1)  # three grids, both kinds of attention
    with pytest.raises(ModelMeterError, match="3 points are too many"):
        study_data(studies["vision"])


# The schema


def test_the_schema_lists_what_the_code_has(validator):
    check_schema(validator)
    timed = {name for name, quantity in QUANTITIES.items() if quantity.timed}
    defs = validator.schema["$defs"]
    assert set(defs["cost"]["properties"]) == {*STAGE_FIELDS, *(set(QUANTITIES) - timed)} | {
        "times",
        "measured_counted_flops",
    }
    assert set(defs["time"]["properties"]) == timed | {"device", "execution"}


def test_what_every_reader_needs_is_required(data, validator):
    for name in data:
        assert not validator.is_valid(without(data, (), name)) or name == "distribution"
    own = {"vendor", "num_tiles", "stage_costs", "prefill_stagecost", "decode_stagecost"}  # of some studies
    for name in set(data["points"][0]) - own:
        assert not validator.is_valid(without(data, ("points", 0), name)), name


def test_nothing_unknown_is_allowed(data, validator):
    free = {"conventions", "coordinates", "attributes"}
    for path in places(data):
        if not free & set(path) and path[-1:] not in {("dimensions",), ("quantities",)}:
            assert not validator.is_valid(with_more(data, path, extra={"a": 1})), path


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        ((), "schema", "modelmeter.sweep/2"),
        ((), "points", []),
        (("points", 0), "batch_size", 0),
        (("points", 0), "context_len", -1),
        (("points", 0), "decode_stagecost", {}),
        (("points", 0, "decode_stagecost", "decode_eager"), "flops", 1.5),
        (("points", 0, "decode_stagecost", "decode_eager"), "io_bytes", -1),
        (("points", 0, "decode_stagecost", "decode_eager"), "times", []),
        (("conventions",), "notes", []),
    ],
)
def test_a_wrong_value_is_seen(data, validator, path, name, value):
    assert name in at(data, path)
    assert not validator.is_valid(with_more(data, path, **{name: value}))


# analytic_scaling.json


def test_scaling_is_per_token_beside_the_exact_sums(studies):
    study = studies["seq-len"]
    found = scaling_data(study, "flash")
    validator = validator_of("scaling-1")
    check_schema(validator)
    validator.validate(found)
    assert (found["batch_size"], found["decode_steps"]) == (2, 3)
    assert found["conventions"]["attention"] == "flash"
    assert [point["seq_len_prefill"] for point in found["points"]] == [16, 32]
    for point, length in zip(found["points"], (16, 32), strict=True):
        prefill, decode = point["prefill"], point["decode"]
        assert prefill["kv_cache_bytes"] == 2 * length * TOKEN
        assert decode["kv_cache_bytes"] == 2 * (length + 3) * TOKEN
        assert decode["kv_gb_final"] == decode["kv_cache_bytes"] / 2**30
        assert decode["flops_tflops_per_token"] == decode["flops"] / 3 / 1e12
        assert decode["io_tb_per_token"] == pytest.approx(decode["io_bytes"] / 3 * 8 / 1e12, rel=1e-15)
        here = study.datasets["decode"].sel(context_len=length, attention="flash")
        assert decode["flops"] == int(here["flops"])
        assert decode["counted_flops"] == int(here["counted_flops"]) < decode["flops"]
        assert prefill["counted_flops"] < prefill["flops"]  # elementwise FLOPs are beside them
        assert prefill["weights_gb"] == 3_336_106_240 * 2 / 2**30  # parameters of the released checkpoint


def test_what_scaling_says_of_decode_is_so(studies):
    notes = scaling_data(studies["seq-len"], "eager")["conventions"]["notes"]
    assert not any("decode is one token" in note for note in notes)
    assert any("mean of all decode_steps" in note for note in notes)


def test_units_are_told_beside_the_numbers(studies):
    for told in (study_data(studies["seq-len"]), scaling_data(studies["seq-len"], "eager")):
        assert any("io_tb is terabits" in note and "GiB" in note for note in told["conventions"]["notes"])


def test_times_say_where_and_how_they_are_predicted(studies):
    notes = study_data(studies["device"])["conventions"]["notes"]
    assert [note.split(";")[0] for note in notes if note.startswith("times:")] == [
        "times: predicted on h200, l40s, execution eager, graph"
    ]
    assert not any(note.startswith("times:") for note in study_data(studies["vision"])["conventions"]["notes"])


def test_a_scaling_file_for_each_kind_of_attention(studies):
    files = scaling_files(studies["seq-len"])
    kinds = {name: json.loads(text)["conventions"]["attention"] for name, text in files.items()}
    assert kinds == {"analytic_scaling.json": "eager", "analytic_scaling_flash.json": "flash"}
