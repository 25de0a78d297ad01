"""The committed figures of bench/plan_accuracy.py: they reach the goal, and the docs show them."""

import importlib.util
import json
from pathlib import Path

import pytest

from modelmeter.hardware.capacity.plan import SHORT_TTFT, SLOTS_SHORT

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("plan_accuracy", ROOT / "bench" / "plan_accuracy.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def figures(bench):
    return json.loads(bench.RESULT.read_text(encoding="utf-8"))


def test_twenty_scenarios_agree(bench, figures):
    agreeing = set()
    for row in figures["rows"]:
        found, simulated, saturation = row["closed_form"], row["simulation"], row["saturation"]
        close = abs(saturation["closed_form"] / saturation["simulation"] - 1) <= 0.05
        close &= all(abs(found[name] / simulated[name] - 1) <= 0.10 for name in bench.LATENCIES)
        close &= all(row["half_widths"][name] <= 0.05 * simulated[name] for name in bench.LATENCIES)
        assert row["agrees"] is close
        if close:
            agreeing.add(tuple(row[name] for name in ("device", "mix", "policy", "batch", "load")))
    assert len(agreeing) == figures["agreeing"] >= 20
    assert {policy for _, _, policy, _, _ in agreeing} == {"prefill-first", "chunked"}
    assert len({device for device, *_ in agreeing}) >= 3


def test_planned_points_keep_their_limits_and_agree_where_slots_are_free(figures):
    planned = [row for row in figures["rows"] if row["planned"] is not None]
    assert len(planned) >= 8
    free = [row["agrees"] for row in planned if row["slots_taken"] <= SLOTS_SHORT]
    assert len(free) >= 3 and all(free)
    for row in planned:
        for name in ("ttft", "tpot"):
            limit, found = row["planned"][name], row["simulation"][f"{name}_p95"]
            assert limit is None or found - row["half_widths"][f"{name}_p95"] <= limit


def test_the_caution_is_of_the_largest_shortfall(bench, figures):
    """`plan --closed-form` says by how much its TTFT may be too short: no row is worse, and one is about as bad."""
    assert bench.shortest_ttft(figures["rows"]) == figures["shortest_ttft_where_slots_are_short"]
    assert -SHORT_TTFT <= figures["shortest_ttft_where_slots_are_short"] <= -SHORT_TTFT + 0.05


def test_the_docs_show_them(bench, figures):
    text = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    shown = bench.put(text, bench.ACCURACY, bench.table(figures["rows"]))
    assert bench.put(shown, bench.CLAIM, bench.claim_table(figures["published"])) == text
