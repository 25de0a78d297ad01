"""The two files: which they are, what they say when read back, and one line for each that is none."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from support.scaling import REAL, analytic, measured, measured_point, spread, without_counts, write_pair
from support.schema import check_schema, places, validator_of, with_more, without
from support.small import small_config

from modelmeter import DeepseekOCRConfig
from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.compare import compare
from modelmeter.report.scaling_compare.compare import compare_scaling
from modelmeter.report.scaling_compare.measured import Skipped, read_measured, to_json
from modelmeter.report.scaling_compare.pair import ScalingPair, scaling_pair

SMALL = DeepseekOCRConfig.from_hf(small_config())
POINTS = {16: (100, 40), 32: (200, 80)}


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """Both files in a folder."""
    return write_pair(tmp_path, analytic(POINTS), measured(POINTS))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"config": SMALL, "model": SMALL.name, "dtype": "float16"},
        {"skipped": (Skipped(seq_len_prefill=64, reason="too little memory"),), "complete": False},
        {"command": None, "conventions": attrs.evolve(REAL, attention="flash", coverage=5.5)},
    ],
    ids=["plain", "small", "skipped", "flash"],
)
def test_a_measurement_is_read_as_it_was_written(tmp_path: Path, changed: dict[str, Any]) -> None:
    for theirs in (measured(POINTS, **changed), without_counts(measured(POINTS, **changed))):
        path = tmp_path / "measured_scaling.json"
        path.write_text(to_json(theirs), encoding="utf-8")
        assert read_measured(path) == theirs
        validator_of("measured-scaling-1").validate(json.loads(to_json(theirs)))


def test_the_schema_sees_what_is_missing_or_too_much() -> None:
    validator = validator_of("measured-scaling-1")
    check_schema(validator)
    data = json.loads(to_json(measured(POINTS, skipped=(Skipped(seq_len_prefill=64, reason="memory"),))))
    found = [path for path in places(data) if "conventions" not in path]
    assert len(found) > 10
    for path in found:
        assert not validator.is_valid(with_more(data, path, unknown=1)), path
    for name in data:
        assert not validator.is_valid(without(data, (), name)), name


# Which file is which


def test_the_order_is_free_and_folders_will_do(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    wanted = ScalingPair(analytic=pair[0], measured=pair[1])
    assert scaling_pair(*pair) == scaling_pair(*pair[::-1]) == wanted
    assert (
        scaling_pair(tmp_path, tmp_path) == scaling_pair(pair[0], tmp_path) == scaling_pair(tmp_path, pair[1]) == wanted
    )


def test_of_a_study_it_is_the_measured_kind_of_attention(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    (tmp_path / "m").mkdir()
    flash = tmp_path / "analytic_scaling_flash.json"
    theirs = measured(POINTS, conventions=attrs.evolve(REAL, attention="flash"))
    write_pair(tmp_path / "m", analytic(POINTS), theirs)
    flash.write_text(json.dumps(analytic(POINTS, conventions=attrs.evolve(REAL, attention="flash"))), encoding="utf-8")
    found = scaling_pair(tmp_path, tmp_path / "m" / "measured_scaling.json")
    assert found is not None and found.analytic == flash
    named = scaling_pair(pair[0], tmp_path / "m" / "measured_scaling.json")
    assert named is not None and named.analytic == pair[0]  # a file that is named is that file


def test_other_files_are_no_pair(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    assert scaling_pair(pair[0], pair[0]) is None
    assert scaling_pair(pair[1], pair[1]) is None
    (tmp_path / "other.json").write_text('{"schema": "modelmeter.time/1"}', encoding="utf-8")
    assert scaling_pair(pair[0], tmp_path / "other.json") is None
    with pytest.raises(ModelMeterError, match=r"holds no analytic_scaling\.json.*modelmeter sweep seq-len -o DIR"):
        scaling_pair(tmp_path / "other.json", pair[1])


def test_a_folder_with_more_than_a_measurement_is_compared_as_what_else_it_is(
    tmp_path: Path, pair: tuple[Path, Path]
) -> None:
    (tmp_path / "other.json").write_text('{"schema": "modelmeter.sweep/1"}', encoding="utf-8")
    assert scaling_pair(tmp_path, tmp_path / "other.json") is None


def test_two_measurements_are_two_results(tmp_path: Path, pair: tuple[Path, Path]) -> None:
    slower = tmp_path / "slower.json"
    slower.write_text(to_json(measured(POINTS, times=(160.0, 5.0))), encoding="utf-8")
    found = compare(pair[1], slower)
    assert {(each.key, each.quantity, each.relative) for each in found.numbers} == {
        ((("seq_len_prefill", length),), f"prefill.{name}_ms", 1)
        for length in POINTS
        for name in ("time", *(f"spread.{one}" for one in ("low", "first_quartile", "third_quartile", "high")))
    }


# Files that are none


def refused(pair: tuple[Path, Path]) -> str:
    """The one line."""
    with pytest.raises(ModelMeterError) as error:
        compare_scaling(ScalingPair(analytic=pair[0], measured=pair[1]))
    assert "\n" not in str(error.value)
    return str(error.value)


def edited(path: Path, edit: Callable[[Any], object]) -> None:
    """Change the data of a JSON file."""
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize("side", [0, 1])
def test_a_truncated_file_is_no_json(pair: tuple[Path, Path], side: int) -> None:
    text = pair[side].read_text(encoding="utf-8")
    for length in (0, 1, len(text) // 2, len(text) - 3):
        pair[side].write_text(text[:length], encoding="utf-8")
        assert f"{pair[side]} is not JSON" in refused(pair)


@pytest.mark.parametrize("side", [0, 1])
def test_another_schema_is_refused(pair: tuple[Path, Path], side: int) -> None:
    edited(pair[side], lambda data: data.update(schema="modelmeter.time/1"))
    assert "is of the schema 'modelmeter.time/1', not modelmeter." in refused(pair)
    edited(pair[side], lambda data: data.pop("schema"))
    assert "names no schema" in refused(pair)


def test_no_common_length_names_both_sides_and_the_command(tmp_path: Path) -> None:
    line = refused(write_pair(tmp_path, analytic({16: (1, 1), 32: (1, 1)}), measured({64: (1, 1)})))
    assert "(lengths 16, 32)" in line and "(64) share no length" in line
    assert line.endswith("modelmeter sweep seq-len --seq-lens 64")
    assert "no finished point" in refused(write_pair(tmp_path, analytic({16: (1, 1)}), measured({}, complete=False)))


@pytest.mark.parametrize("name", ["counted_flops", "prefill", "seq_len_prefill"])
def test_what_an_analytic_file_lacks_is_named(pair: tuple[Path, Path], name: str) -> None:
    """Files written before counted FLOPs were in them have none."""

    def drop(data: Any) -> None:
        point = data["points"][0]
        (point["prefill"] if name == "counted_flops" else point).pop(name)

    edited(pair[0], drop)
    assert refused(pair) == f"{pair[0]} has no {name}: make it anew with modelmeter sweep seq-len"


@pytest.mark.parametrize("value", [-1, 1.5, "9", None, True, 10**30])
def test_counts_are_whole_numbers(pair: tuple[Path, Path], value: Any) -> None:
    edited(pair[0], lambda data: data["points"][0]["prefill"].update(counted_flops=value))
    assert f"({value!r} is no whole number from 0 to 1e+30)" in refused(pair)


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        ("time_ms", -1.0, "a measured time is positive"),
        ("time_ms", 0.0, "a measured time is positive"),
        ("time_ms", "9 ms", "is no float"),
        ("time_ms", 1e300, "of some years at most"),
        ("time_ms", 1e-320, "a measured time is positive"),
        ("flops", -1, "from 0 to"),
        ("flops", 10**400, "from 0 to"),
        ("flops", None, "not as counted says"),
        ("flops", 1.5, "1.5"),
    ],
)
def test_measured_numbers_that_cannot_be_are_named(
    pair: tuple[Path, Path], place: str, value: Any, reason: str
) -> None:
    edited(pair[1], lambda data: data["points"][1]["prefill"].update({place: value}))
    assert reason in refused(pair)


def test_flops_per_token_are_those_of_the_steps(pair: tuple[Path, Path]) -> None:
    edited(pair[1], lambda data: data["points"][0]["decode"].update(flops_per_token=1.0))
    assert "flops_per_token at length 16 is not flops / decode_steps" in refused(pair)


def test_quartiles_are_in_order(pair: tuple[Path, Path]) -> None:
    edited(pair[1], lambda data: data["points"][0]["decode"]["spread"].update(first_quartile_ms=99.0))
    assert "not in order" in refused(pair)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e999"])
def test_what_is_no_number_is_no_json(pair: tuple[Path, Path], text: str) -> None:
    content = pair[1].read_text(encoding="utf-8")
    pair[1].write_text(content.replace('"time_ms": 80.0', f'"time_ms": {text}', 1), encoding="utf-8")
    assert "is not JSON" in refused(pair)


@pytest.mark.parametrize("side", [0, 1])
def test_a_length_is_there_once(pair: tuple[Path, Path], side: int) -> None:
    edited(pair[side], lambda data: data["points"].append(data["points"][0]))
    assert "a length is there twice" in refused(pair)


def test_unknown_and_missing_fields_of_a_measurement_are_named(pair: tuple[Path, Path]) -> None:
    edited(pair[1], lambda data: data.update(mood="good"))
    assert "mood" in refused(pair)
    edited(pair[1], lambda data: (data.pop("mood"), data.pop("device")))
    assert "device" in refused(pair)


def test_a_spread_is_of_positive_times() -> None:
    with pytest.raises(ModelMeterError, match="low_ms"):
        spread(-1.0)
    with pytest.raises(ModelMeterError, match="seq_len_prefill"):
        measured_point(0, (1, 1))
