"""The committed proof: its summary follows from its rows, and the page shows them."""

import importlib.util
import json
import statistics
import sys
from pathlib import Path

import pytest
import torch

from modelmeter import DeepseekOCRModel
from modelmeter.hardware.efficiency import CLASSES
from modelmeter.hardware.page_time import time_stage
from modelmeter.hardware.roofline import machine_of
from modelmeter.live.calibration.stages import WARM_UPS

ROOT = Path(__file__).resolve().parents[3]
PROOF = json.loads((ROOT / "bench" / "results" / "calibration-cpu.json").read_text("utf-8"))
PAGE = (ROOT / "docs" / "calibration.md").read_text("utf-8")
ROWS = PROOF["stages"]
DEVICE = ROOT / "bench" / "results" / "cpu-device.toml"


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
    machine = machine_of(DEVICE)
    assert set(machine.calibration.classes) == set(CLASSES)
    assert machine.calibration.provenance["date"] == PROOF["calibration"]["date"]
    assert machine.host_seconds == machine.calibration.host_seconds > 0


@pytest.fixture
def bench():
    """The script that made the proof."""
    spec = importlib.util.spec_from_file_location("bench_calibration", ROOT / "bench" / "calibration.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["bench_calibration"] = module  # attrs looks its classes' module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["bench_calibration"]


def test_the_levels_are_still_what_the_model_says(bench):
    machine = machine_of(DEVICE)
    for plan in bench.plans(torch.device("cpu"), quick=False):
        for row, twin in zip([row for row in ROWS if row["model"] == plan.name], twins(bench, plan), strict=True):
            seconds = time_stage(twin(row["experts_reached"]), machine).seconds
            found = (seconds.bound, seconds.roofline, seconds.calibrated)
            assert found == pytest.approx((row["bound"], row["roofline"], row["calibrated"]), rel=1e-4), row["stage"]


def twins(bench, plan):
    """For each stage of a plan, in order: the twin in its state, given the experts reached."""

    def model(reached):
        return DeepseekOCRModel.from_config(
            plan.config,
            implementation="transformers",
            attention=plan.attention,
            experts="loop" if plan.experts == "eager" else "grouped",
            logits="last",
            position_ids="batch",
            causal="triangle",
            coverage=reached or "expected",
        )

    def vision(views, batch):
        def twin(reached):
            found = model(reached)
            found.set_views(views)
            found.start_vision(batch)
            return found

        return twin

    def text(batch, context, *, decode):
        def twin(reached):
            found = model(reached)
            found.start_prefill(context + decode * (WARM_UPS + bench.REPEATS["decode"] // 2), batch)
            if decode:
                found.start_decode()
            return found

        return twin

    pages = [vision(*page) for page in plan.pages]
    return [*pages, *[text(*sizes, decode=decode) for sizes in plan.texts for decode in (False, True)]]
