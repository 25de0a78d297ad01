"""A comparison of scaling as JSON, CSV, Markdown, text and a plot: the same numbers, none lost."""

import csv
import io
import json
from fractions import Fraction

import pytest
from rich.console import Console
from support.devices import made_up
from support.scaling import analytic, measured, without_counts
from support.schema import check_schema, places, validator_of, with_more, without

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.efficiency import Calibration
from modelmeter.hardware.machine import Machine
from modelmeter.report.scaling_compare.compare import ScalingComparison
from modelmeter.report.scaling_compare.export import scaling_comparison_data, to_csv, to_json
from modelmeter.report.scaling_compare.measured import Skipped
from modelmeter.report.scaling_compare.plot import scaling_plot
from modelmeter.report.scaling_compare.render import print_scaling, to_markdown

from .conftest import Compared

MACHINE = Machine(device=made_up(), execution="eager")
SKIPPED = (Skipped(seq_len_prefill=64, reason="too little memory"),)


@pytest.fixture(params=["plain", "device", "calibrated", "no counts"])
def found(request: pytest.FixtureRequest, compared: Compared) -> ScalingComparison:
    """A prefill a fifth above at 16 tokens; a length on each side alone; one that was skipped."""
    ours = analytic({16: (100, 40), 32: (200, 82), 128: (1, 1)})
    theirs = measured({16: (120, 40), 32: (200, 82), 256: (1, 1)}, skipped=SKIPPED, complete=False)
    calibrated = Machine(device=made_up(), calibration=Calibration(host_seconds=1e-6, classes={}))
    machine = {"device": MACHINE, "calibrated": calibrated}.get(request.param)
    theirs = without_counts(theirs) if request.param == "no counts" else theirs
    return compared(ours, theirs, machine=machine, command="modelmeter compare a b")


def test_the_data_are_as_the_schema_says(found: ScalingComparison) -> None:
    validator = validator_of("scaling-comparison-1")
    check_schema(validator)
    data = json.loads(to_json(found))
    validator.validate(data)
    for path in places(data):
        assert not validator.is_valid(with_more(data, path, unknown=1)), path
    for name in data:
        assert not validator.is_valid(without(data, (), name)), name
    assert (data["only_analytic"], data["only_measured"]) == ([128], [256])
    assert [point["seq_len_prefill"] for point in data["points"]] == [16, 32]


def test_whole_numbers_are_whole_and_shares_are_of_the_analytic_side(compared: Compared) -> None:
    """82 of four steps are 20.5 each."""
    data = scaling_comparison_data(compared(analytic({16: (100, 82)}), measured({16: (120, 82)})))
    prefill, decode = data["points"][0]["prefill"], data["points"][0]["decode"]
    assert (prefill["analytic_flops"], prefill["measured_flops"], prefill["flops_difference"]) == (100, 120, 20)
    assert (prefill["flops_relative"], decode["analytic_flops"], decode["flops_relative"]) == (0.2, 20.5, 0)
    assert (prefill["measured_seconds"], prefill["first_quartile_seconds"]) == (0.080, pytest.approx(0.072))
    assert data["exceeding"] == 1 and data["threshold"] == 0.05


def test_csv_has_a_row_for_each_stage_of_each_length(found: ScalingComparison) -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(found))))
    assert [(row["seq_len_prefill"], row["stage"]) for row in rows] == [
        ("16", "prefill"),
        ("16", "decode"),
        ("32", "prefill"),
        ("32", "decode"),
    ]
    data = scaling_comparison_data(found)
    for row in rows:
        (point,) = [each for each in data["points"] if str(each["seq_len_prefill"]) == row["seq_len_prefill"]]
        for name, value in point[row["stage"]].items():
            assert row[name] == ("" if value is None else str(value))


def test_markdown_has_what_the_terminal_has_and_the_commands(found: ScalingComparison) -> None:
    out = io.StringIO()
    print_scaling(found, Console(file=out, width=300))
    printed, text = out.getvalue(), to_markdown(found)
    for line in scaling_comparison_data(found)["recommendation"]:
        assert line in printed and line.replace("<", "&lt;") in text
    for words in ("lengths 128", "lengths 256", "length 64: too little memory", "was not finished"):
        assert words in printed and words in text
    for command in scaling_comparison_data(found)["commands"]:
        assert f"\n{command}\n" in text and f"to run it again: {command}\n" in printed
    assert ("Counted FLOPs" in text) is found.measured.counted
    assert ("MFU" in text) is (found.machine is not None)
    assert ("calibrated |" in text) is (found.machine is not None and found.machine.calibration is not None)
    if found.measured.counted:
        assert "| 16 | prefill | 100 | 120 | +20 | +20% |" in text and "| 16 | decode | 10 | 10 | 0 | 0 |" in text


def test_each_row_has_a_cell_for_each_column(found: ScalingComparison) -> None:
    tables = [table.splitlines() for table in to_markdown(found).split("\n\n") if table.startswith("|")]
    assert len(tables) == (3 if found.measured.counted else 1)  # without counts and device: measured times alone
    for table in tables:
        assert len({line.count(" | ") for line in table}) == 1 and len(table) > 2
    assert "None" not in to_markdown(found) and "nan" not in to_markdown(found)


@pytest.mark.parametrize("suffix", ["svg", "png", "pdf"])
def test_the_plot_is_a_file_of_its_format(found: ScalingComparison, suffix: str) -> None:
    starts = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
    content = scaling_plot(found, suffix)
    assert content.startswith(starts[suffix])
    assert content == scaling_plot(found, suffix)


def test_the_plot_names_its_curves_and_axes(found: ScalingComparison) -> None:
    text = scaling_plot(found, "svg").decode()
    names = ["Counted FLOPs", "length of the prompt (tokens)", "prefill, measured", "decode step, measured"]
    names += ["prefill, analytic", "decode step, analytic", "A chip"]
    if found.machine is not None:
        level = "roofline" if found.machine.calibration is None else "calibrated"
        names += [f"prefill, {level}", f"decode step, {level}", "prefill, bound", "predicted for made-up"]
    assert [name for name in names if name not in text] == []
    assert ("bound" in text) is (found.machine is not None)


def test_an_unknown_format_is_refused(found: ScalingComparison) -> None:
    with pytest.raises(ModelMeterError, match=r"cannot draw a \.gif"):
        scaling_plot(found, "gif")


def test_one_length_is_drawn_too(compared: Compared) -> None:
    found = compared(analytic({16: (100, 40)}), measured({16: (100, 40)}), machine=MACHINE, threshold=Fraction(0))
    assert scaling_plot(found, "svg").startswith(b"<?xml")
