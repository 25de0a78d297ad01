"""Figures in prose that come from a committed result: they are those of the file."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "row"), [("calibration-cpu", "one thread"), ("calibration-cpu-2-threads", "two threads")]
)
def test_the_errors_reached_are_those_of_the_result(name, row):
    found = json.loads((ROOT / "bench" / "results" / f"{name}.json").read_text(encoding="utf-8"))["summary"]
    (line,) = [
        line
        for line in (ROOT / "docs" / "time.md").read_text(encoding="utf-8").splitlines()
        if row in line and "|" in line
    ]
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    every = found["all"]
    assert cells == [str(every["stages"]), f"{every['median_error']:.1%}", f"{every['worst_error']:.1%}"]
    assert found["bound_never_above"]
