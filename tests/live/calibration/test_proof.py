"""The committed proof: its summary follows from its rows, and the page shows them."""

import json
import statistics
from pathlib import Path

import pytest

from modelmeter.hardware.efficiency import CLASSES
from modelmeter.hardware.roofline import machine_of

ROOT = Path(__file__).resolve().parents[3]
PROOF = json.loads((ROOT / "bench" / "results" / "calibration-cpu.json").read_text("utf-8"))
PAGE = (ROOT / "docs" / "calibration.md").read_text("utf-8")
ROWS = PROOF["stages"]


def test_errors_and_summary_follow_from_the_times():
    errors = [row["calibrated"] / row["measured"]["seconds"] - 1 for row in ROWS]
    assert errors == pytest.approx([row["error"] for row in ROWS])
    whole = PROOF["summary"]["all"]
    assert whole["median_error"] == pytest.approx(statistics.median(abs(error) for error in errors))
    assert whole["worst_error"] == pytest.approx(max(abs(error) for error in errors))
    assert whole["stages"] == len(ROWS)


def test_the_goal():
    assert PROOF["summary"]["all"]["median_error"] <= 0.10
    assert PROOF["summary"]["all"]["worst_error"] <= 0.25
    assert PROOF["summary"]["goal_met"]


def test_the_levels_are_in_order_and_the_bound_is_below_every_measurement():
    for row in ROWS:
        assert row["bound"] <= row["roofline"] <= row["calibrated"]
        assert row["bound"] <= row["measured"]["low"]


def test_three_sizes_of_model_and_every_stage():
    assert len({row["model"].split(",")[0] for row in ROWS}) == 3
    assert {row["kind"] for row in ROWS} == {"vision", "prefill", "decode"}


def test_the_page_shows_every_stage():
    for row in ROWS:
        times = [row["measured"]["seconds"], row["bound"], row["roofline"], row["calibrated"]]
        measured, *levels = [f"{seconds * 1e3:,.1f}" for seconds in times]
        cells = [row["model"], row["stage"], measured, f"{row['spread']:.1%}", *levels, f"{row['error']:+.1%}"]
        assert f"| {' | '.join(cells)} |" in PAGE


def test_the_device_file_that_was_fitted():
    machine = machine_of(ROOT / "bench" / "results" / "cpu-device.toml")
    assert set(machine.calibration.classes) == set(CLASSES)
    assert machine.calibration.provenance["date"] == PROOF["calibration"]["date"]
    assert machine.host_seconds == machine.calibration.host_seconds > 0
