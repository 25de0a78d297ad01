"""The page of a report with an observed run: its tables stand below the documents."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest

from modelmeter.core.cost import Cost, StageCost
from modelmeter.report.model_report.data import AnalyticModelReport
from modelmeter.report.model_report.observed import ObservedPage, ObservedRun, ObservedSnapshot

HOSTILE = "<img src=x onerror=window.broken=3>.png"
RUN = ObservedRun(
    pages=(ObservedPage(document=HOSTILE, page=1, batch_size=2, context_len=83, image_tokens=73, decode_tokens=8),),
    snapshots={
        "vision/vit_model": ObservedSnapshot(
            calls=2, cost=StageCost(cost=Cost(tensor_flops=3 * 10**12)), measured_seconds=0.25
        )
    },
    not_hooked=Cost(weight_read_bytes=2**20),
)
TABLES = """
const tables = [...document.querySelectorAll("#document-list table")];
return tables.filter((table) => table.caption.textContent.startsWith("Observed")).map((table) => [
    table.caption.textContent,
    [...table.rows].map((row) => [...row.cells].map((cell) => cell.textContent)),
]);
"""


@pytest.fixture
def observed(report: AnalyticModelReport) -> AnalyticModelReport:
    """The report with a run in it."""
    return attrs.evolve(report, observed=RUN)


def test_its_tables_are_there(show: Callable[..., Any], observed: AnalyticModelReport) -> None:
    shown = show(observed)
    (pages_title, pages), (calls_title, calls) = shown.execute_script(TABLES)
    assert pages_title == "Observed: tokens of each sequence"
    assert pages == [
        ["document", "page", "batch", "image tokens", "prefilled tokens", "decoded tokens"],
        [HOSTILE, "1", "2", "73", "83", "8"],
    ]
    assert calls_title == "Observed: all calls of the run"
    assert [row[0] for row in calls] == ["modules", "vision/vit_model", "not hooked"]
    assert (calls[1][1], calls[1][2], calls[1][-1]) == ("2", "3.00 T", "250 ms")
    assert calls[2][4] == "1.00 MiB"  # weights read
    assert shown.execute_script("return window.broken") is None
    assert [entry for entry in shown.get_log("browser") if entry["level"] == "SEVERE"] == []


def test_without_a_run_there_are_none(show: Callable[..., Any], report: AnalyticModelReport) -> None:
    assert show(report).execute_script(TABLES) == []
