"""Runs the sections in order, each for itself: one that fails or has no time left does not end the others."""

import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs

from gpu_bench.bench import FAILURES, Bench, Row, no_model, said
from gpu_bench.budget import OutOfTime


@attrs.frozen(kw_only=True)
class Section:
    """A part of the run. `least` seconds it needs to be worth a start; it gets `share` of the budget at most."""

    name: str
    title: str
    run: Callable[[Bench], Iterator[Row]]
    needs_model: bool = True
    needs_cuda: bool = False
    least: float = 5.0
    share: float = 1.0


@attrs.define(kw_only=True, eq=False)
class Outcome:
    """What came of a section: "done", "failed", "left out", "skipped" (no time), "stopped" (its time was up)."""

    section: Section
    state: str = "running"
    reason: str | None = None
    seconds: float = 0.0
    rows: list[Row] = attrs.field(factory=list)
    traceback: list[str] | None = None

    def as_data(self) -> Row:
        """As plain data."""
        found = {"name": self.section.name, "title": self.section.title, "state": self.state, "reason": self.reason}
        return found | {"seconds": round(self.seconds, 3), "traceback": self.traceback, "rows": self.rows}


def run_section(section: Section, bench: Bench, outcome: Outcome, saved: Callable[[], object]) -> None:
    """Run one section into `outcome`; `saved` is called after each row."""
    reason = no_model() if section.needs_model else None
    if section.needs_cuda and bench.device.type != "cuda":
        reason = "it needs a CUDA device"
    if reason is not None:
        outcome.state, outcome.reason = "left out", reason
    elif bench.budget.left < section.least:
        left = max(0.0, bench.budget.left)
        outcome.state, outcome.reason = "skipped", f"{left:.0f} s are left, it needs {section.least:.0f} s or more"
    else:
        started = time.monotonic()
        try:
            _measure(section, bench, outcome, saved)
        except KeyboardInterrupt:
            outcome.state, outcome.reason = "stopped", "interrupted"
            raise
        finally:
            outcome.seconds = time.monotonic() - started


def _measure(section: Section, bench: Bench, outcome: Outcome, saved: Callable[[], object]) -> None:
    most = section.share * bench.budget.seconds
    try:
        with bench.budget.limit(most):
            for row in section.run(bench):
                outcome.rows.append(row)
                bench.say(f"  {row['name']}{_ended(row)}")
                saved()
                if bench.budget.left <= 0:
                    raise OutOfTime
        outcome.state = "done"
    except OutOfTime:
        whole = bench.budget.left <= 0
        outcome.state = "stopped"
        outcome.reason = "the budget is used up" if whole else f"its {most:.0f} s were up"
    except FAILURES as error:
        outcome.state, outcome.reason = "failed", said(error)
        outcome.traceback = _frames(error)
    if outcome.state == "done" and outcome.rows and all("failed" in row for row in outcome.rows):
        outcome.state, outcome.reason = "failed", "every point failed"


def _frames(error: BaseException) -> list[str]:
    """Where it was raised, the last calls of it: files by their names alone."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return [f"{Path(frame.filename).name}:{frame.lineno} in {frame.name}: {frame.line}" for frame in frames]


def _ended(row: Row) -> str:
    return next((f": {word}: {row[word]}" for word in ("skipped", "failed") if word in row), "")
