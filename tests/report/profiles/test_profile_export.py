"""A profile as tables, JSON, CSV and Markdown: sums that agree, the schema, nothing unknown left out."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from jsonschema import Draft202012Validator
from support.schema import at, check_schema, places, with_more, without

from modelmeter.core.errors import ModelMeterError
from modelmeter.profiles.kinds import KINDS
from modelmeter.profiles.profile import STAGES, KernelTime, Profile
from modelmeter.report.compare.compare import compare
from modelmeter.report.compare.read import read_result
from modelmeter.report.profiles.build import Expected, ProfileReport, import_profile
from modelmeter.report.profiles.export import to_csv, to_json, to_markdown
from modelmeter.report.profiles.notes import notes
from modelmeter.report.profiles.tables import profile_tables

from .conftest import GEMV, ODD, TOTAL

With = Callable[..., Expected]


def data_of(report: ProfileReport) -> Any:
    """What a reader of the JSON file gets; NaN and infinity are no JSON."""
    return json.loads(to_json(report), parse_constant=pytest.fail)


@pytest.fixture
def reports(trace: Path, summary: Path, expected: With) -> dict[str, ProfileReport]:
    """Both kinds of file, with and without a prediction."""
    return {
        "trace": import_profile(trace),
        "trace, predicted": import_profile(trace, expected()),
        "trace, a CPU": import_profile(trace, expected("cpu", batch_size=2), decode_tokens=1),
        "trace, all of one stage": import_profile(trace, expected(), stage="prefill"),
        "summary": import_profile(summary),
        "summary, predicted": import_profile(summary, expected(), decode_tokens=2),
    }


def test_data_is_valid(reports: dict[str, ProfileReport], validator: Draft202012Validator) -> None:
    for report in reports.values():
        validator.validate(data_of(report))


def test_a_name_is_one_line_that_no_terminal_obeys(tmp_path: Path) -> None:
    name = "kernel\x1b[31m\nred"
    path = tmp_path / "trace.json"
    path.write_text(json.dumps([{"ph": "X", "cat": "kernel", "name": name, "ts": 1, "dur": 5}]), encoding="utf-8")
    report = import_profile(path)
    for table in profile_tables(report)[2:]:
        assert [row[0] for row in table.rows] == ["kernel\\x1b[31m\\nred"]
    assert data_of(report)["kernels"][0]["name"] == name  # a file has it as it is


def test_sums_of_kinds_stages_and_kernels_are_the_total(reports: dict[str, ProfileReport]) -> None:
    for report in reports.values():
        data = data_of(report)
        for field in ("nanoseconds", "launches"):
            whole = data["stages"]["total"][field]
            assert whole == sum(kernel[field] for kernel in data["kernels"])
            assert whole == sum(row[field] for name, row in data["stages"].items() if name in STAGES)
            for row in data["stages"].values():
                assert row[field] == sum(kind[field] for kind in row["kinds"].values())


def test_the_numbers_of_a_trace(reports: dict[str, ProfileReport]) -> None:
    data = data_of(reports["trace, predicted"])
    assert (data["tool"], data["runs_on"], data["device_name"]) == ("torch", "gpu", "NVIDIA H200")
    total = data["stages"]["total"]
    assert total["nanoseconds"] == TOTAL * 1000
    assert total["elapsed_seconds"] == pytest.approx(TOTAL * 1e-6)  # the device is behind all the time
    assert total["kinds"]["unknown"]["nanoseconds"] == 2_000
    assert total["kinds"]["gemm"]["tensor_core_nanoseconds"] == (30 + 20 + 1 + 40) * 1000  # GEMVs have none
    assert data["workload"]["decode_tokens"] == 2
    assert data["conventions"]["attention"] == "flash"


def test_two_profiles_compare(reports: dict[str, ProfileReport], tmp_path: Path) -> None:
    """By stage and kind, and kernel by kernel; that one has a prediction and the other none is a setting."""
    paths = [tmp_path / name for name in ("a.json", "b.json")]
    for path, report in zip(paths, (reports["trace"], reports["trace, predicted"]), strict=True):
        path.write_text(to_json(report), encoding="utf-8")
    a, b = (read_result(path) for path in paths)
    assert a.title == "a profile"
    decode = (("stage", "decode"), ("kind", "gemm"))
    assert a.rows[decode]["launches"] == b.rows[decode]["launches"] == 2
    kernel = a.rows[("name", GEMV), ("stage", "decode")]
    assert kernel["nanoseconds"] == (9 + 9.5) * 1000
    assert (a.settings["level"], b.settings["level"]) == (None, "roofline")
    with pytest.raises(ModelMeterError, match="conventions"):
        compare(*paths)
    assert compare(*paths, allow=["conventions", "models"]).compared > 0


def test_csv_has_every_kernel(reports: dict[str, ProfileReport]) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(reports["trace"]))))
    assert sum(int(row["nanoseconds"]) for row in rows) == TOTAL * 1000
    assert {row["tensor_cores"] for row in rows} == {"true", "false", ""}
    assert [row["kind"] for row in rows if row["name"] == ODD] == ["unknown"]


def test_columns_of_the_tables_add_up(reports: dict[str, ProfileReport]) -> None:
    stages, kinds, *_ = profile_tables(reports["trace"])
    launches = {row[0]: int(row[stages.columns.index("launches")]) for row in stages.rows}
    assert launches["total"] == 11 == sum(launches[name] for name in STAGES if name in launches)
    place = kinds.columns.index("launches")
    for name in ("sam", "prefill", "decode", "all stages"):
        assert sum(int(row[place]) for row in kinds.rows if row[0] == name) == launches[name]


def test_a_prediction_adds_columns_and_nothing_else_changes(reports: dict[str, ProfileReport]) -> None:
    alone, beside = (profile_tables(reports[name])[0] for name in ("trace", "trace, predicted"))
    assert "predicted" not in alone.columns and "MFU" not in alone.columns
    assert {"predicted", "ratio", "MFU", "MBU"} <= set(beside.columns)
    kept = [beside.columns.index(name) for name in alone.columns]
    assert [tuple(row[place] for place in kept) for row in beside.rows] == list(alone.rows)


def test_what_is_of_no_known_kind_is_listed_by_name(reports: dict[str, ProfileReport]) -> None:
    *_, unknown = profile_tables(reports["trace"])
    assert (unknown.title, [row[0] for row in unknown.rows]) == ("Of no known kind", [ODD])
    assert "Of no known kind" not in [table.title for table in profile_tables(reports["summary"])]


def test_all_the_unknown_are_listed_however_many() -> None:
    kernels = [
        KernelTime(name=f"k{i}" * 60, kind="unknown", stage="decode", launches=1, nanoseconds=i) for i in range(99)
    ]
    profile = Profile(source="a.csv", tool="nsys", runs_on="gpu", kernels=tuple(kernels))
    tables = profile_tables(ProfileReport(profile=profile, runs=1, decode_steps=None))
    assert len(tables[-1].rows) == 99
    assert len(tables[-2].rows) == 15  # the heaviest


def test_a_profile_that_took_no_time_has_no_shares() -> None:
    kernel = KernelTime(name="add", kind="elementwise", stage="decode", launches=3, nanoseconds=0)
    profile = Profile(source="a.csv", tool="nsys", runs_on="gpu", kernels=(kernel,))
    report = ProfileReport(profile=profile, runs=1, decode_steps=3)
    stages, *_ = profile_tables(report)
    assert "share" not in stages.columns
    assert data_of(report)["stages"]["total"]["seconds"] == 0


def test_markdown_keeps_names_whole(reports: dict[str, ProfileReport]) -> None:
    text = to_markdown(reports["trace, predicted"])
    assert ODD.replace("|", "\\|").replace("<", "&lt;") in text
    for title in (
        "## Stages, measured and predicted",
        "## Kinds",
        "## Of no known kind",
        "## What the numbers rest on",
    ):
        assert title in text


def test_notes_say_what_stands_against_the_numbers(reports: dict[str, ProfileReport], trace: Path) -> None:
    def careful(report: ProfileReport) -> str:
        return " ".join(line for line in notes(report) if line.startswith("careful"))

    assert careful(reports["trace"]) == ""
    assert "2 decode ranges were marked, and 1 decode steps are taken" in careful(reports["trace, a CPU"])
    assert "the profile is of a GPU, cpu is none" in careful(reports["trace, a CPU"])
    unfinished = attrs.evolve(reports["trace"].profile, unfinished=7)
    assert "7 events have no end" in careful(attrs.evolve(reports["trace"], profile=unfinished))
    nowhere = [attrs.evolve(kernel, stage="unknown") for kernel in unfinished.kernels]
    unmarked = attrs.evolve(unfinished, kernels=tuple(nowhere), unfinished=0)
    assert "no range is marked" in careful(attrs.evolve(reports["trace"], profile=unmarked))


def test_the_schema_lists_what_the_code_has(validator: Draft202012Validator) -> None:
    check_schema(validator)
    defs = validator.schema["$defs"]
    assert defs["kind"]["enum"] == list(KINDS)
    assert defs["stage_name"]["enum"] == list(STAGES)
    assert list(defs["kernel"]["properties"]) == [field.name for field in attrs.fields(KernelTime)]
    assert set(validator.schema["properties"]["stages"]["properties"]) == {*STAGES, "all vision", "all stages", "total"}


OPEN = ("conventions", "precision", "peaks", "kinds", "stages", "calibration")  # their names are others' to choose


def test_every_field_is_required_and_no_other_is_allowed(
    reports: dict[str, ProfileReport], validator: Draft202012Validator
) -> None:
    data = data_of(reports["trace, predicted"])
    for path in places(data):
        if path[-1:] and path[-1] in OPEN:
            continue
        assert (path, validator.is_valid(with_more(data, path, extra=1))) == (path, False)
        for name in at(data, path):
            assert (path, name, validator.is_valid(without(data, path, name))) == (path, name, False)


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ((), {"schema": "modelmeter.profile/2"}),
        ((), {"tool": "perf"}),
        ((), {"runs": 0}),
        ((), {"kernels": []}),
        (("stages",), {"decoder": {}}),
        (("stages", "decode"), {"nanoseconds": 1.5}),
        (("stages", "decode"), {"ranges": 0}),
        (("stages", "decode", "kinds"), {"frobnication": {}}),
        (("stages", "decode", "predicted"), {"seconds": -1}),
        (("kernels", 0), {"tensor_cores": "yes"}),
        ((), {"level": "measured"}),
        (("page",), {"width": 0}),
    ],
)
def test_a_wrong_value_is_refused(
    reports: dict[str, ProfileReport],
    validator: Draft202012Validator,
    path: tuple[str | int, ...],
    values: dict[str, Any],
) -> None:
    data = data_of(reports["trace, predicted"])
    assert not validator.is_valid(with_more(data, path, **values))
