"""What the analytic model says of each stage that was measured, at each level, and how far that is off."""

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.machine import Execution, Machine
from modelmeter.hardware.page_time import LEVELS, Levels, StageTime, time_stage
from modelmeter.live.calibration.clock import Timing
from modelmeter.models.deepseek_ocr.config import Conventions, DeepseekOCRConfig
from modelmeter.models.deepseek_ocr.engine import OperationMode
from modelmeter.models.deepseek_ocr.model import DeepseekOCRModel
from modelmeter.models.deepseek_ocr.views import ViewPlan


@attrs.frozen(kw_only=True)
class Point:
    """A stage as it was run. `context_len` are the tokens of a prefill, of a decode step those cached before it.

    A prefill with views has vision in it. `conventions` are those of the real model, with the experts it reached.
    """

    section: str
    name: str
    stage: OperationMode
    batch: int
    context_len: int = 0
    views: ViewPlan | None = None
    conventions: Conventions
    execution: Execution = "eager"


@attrs.frozen(kw_only=True)
class Measured:
    """A point, and its seconds."""

    point: Point
    timing: Timing


def as_it_runs(conventions: Conventions, reached: float | None = None) -> Conventions:
    """A run's conventions for its time: a flash kernel leaves out what the mask hides, which a FLOP counter counts.

    `reached` experts are those that a layer was seen to reach, on average.
    """
    causal = "triangle" if conventions.attention == "flash" else conventions.causal
    coverage = conventions.coverage if reached is None else reached
    return attrs.evolve(conventions, causal=causal, coverage=coverage)


def stage_time(config: DeepseekOCRConfig, point: Point, machine: Machine) -> StageTime:
    """The analytic model's time of a point."""
    twin = DeepseekOCRModel.from_config(config, **attrs.asdict(point.conventions))
    twin.set_views(point.views)
    if point.stage == "vision":
        twin.start_vision(point.batch)
    else:
        if point.stage == "decode":
            twin.set_views(None)
        twin.start_prefill(point.context_len, point.batch)
        if point.stage == "decode":
            twin.start_decode()
    return time_stage(twin, attrs.evolve(machine, execution=point.execution))


class Predictions:
    """Each measured stage beside the levels of a machine, which may become better known meanwhile."""

    def __init__(self, config: DeepseekOCRConfig, machine: Machine | None) -> None:
        self.config = config
        self.measured: list[Measured] = []
        self._machine = machine
        self._levels: dict[Point, Levels] = {}

    @property
    def machine(self) -> Machine | None:
        """The device as it is known: by its data sheet, later calibrated; None where neither is there."""
        return self._machine

    @machine.setter
    def machine(self, found: Machine) -> None:
        self._machine = found
        self._levels.clear()

    def levels(self, point: Point) -> Levels | None:
        """Seconds of a point at each level; None without a device to predict for."""
        if self._machine is None:
            return None
        if point not in self._levels:
            self._levels[point] = stage_time(self.config, point, self._machine).seconds
        return self._levels[point]

    def rows(self) -> list[dict[str, Any]]:
        """Every measured stage: seconds, and measured / predicted at each level that is known."""
        return [self._row(one) for one in self.measured]

    def _row(self, one: Measured) -> dict[str, Any]:
        point, unpredicted = one.point, None
        try:
            levels = self.levels(point)
        except ModelMeterError as error:
            levels, unpredicted = None, str(error)
        seconds = dict.fromkeys(LEVELS) if levels is None else attrs.asdict(levels)
        measured = one.timing.seconds
        return {
            "section": point.section,
            "name": point.name,
            "stage": point.stage,
            "execution": point.execution,
            "batch": point.batch,
            "context_len": point.context_len,
            "coverage": point.conventions.coverage,
            "measured": attrs.asdict(one.timing),
            "seconds": seconds,
            "ratio": {name: None if value is None else measured / value for name, value in seconds.items()},
            "unpredicted": unpredicted,
        }


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each stage and way of running it, and for all together: measured / predicted at each level.

    The median, the worst (furthest from 1 in either direction), and the median and worst error (predicted / measured
    - 1, without its sign).
    """
    kinds = dict.fromkeys((row["stage"], row["execution"]) for row in rows)
    groups = [(kind, [row for row in rows if (row["stage"], row["execution"]) == kind]) for kind in kinds]
    if len(groups) > 1:
        groups.append((("all", "all"), list(rows)))
    return [_group(stage, execution, found) for (stage, execution), found in groups]


def _group(stage: str, execution: str, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {"stage": stage, "execution": execution, "points": len(rows)}
    for level in LEVELS:
        found[level] = _level(row["ratio"][level] for row in rows)
    return found


def _level(ratios: Iterable[float | None]) -> dict[str, float] | None:
    known = [ratio for ratio in ratios if ratio is not None]
    if not known:
        return None
    errors = [abs(1 / ratio - 1) for ratio in known]
    return {
        "median_ratio": statistics.median(known),
        "worst_ratio": max(known, key=lambda ratio: abs(math.log(ratio))),
        "median_error": statistics.median(errors),
        "worst_error": max(errors),
    }
