"""The passes of one analysis, taken in one by one: what is kept of each, so that no trace is held for long."""

from typing import Final, get_args

import attrs

from modelmeter.core.trace import Trace
from modelmeter.live.analyser.compare_stages import stage_rows
from modelmeter.live.analyser.data import RowName, RunName, StageRow
from modelmeter.live.analyser.split import (
    JOINING,
    OwnOperators,
    PartName,
    categories,
    joining_of,
    split_pass,
    together,
    whole_pass,
)
from modelmeter.live.analyser.stages import stage_of
from modelmeter.live.analyser.tree import Runs, Shapes, module_runs
from modelmeter.live.reference.adapter import Adapter, Quantity
from modelmeter.live.verification.compare import Folded
from modelmeter.live.verification.verify import Comparison, Pass, Stage

QUANTITIES: Final[tuple[Quantity, ...]] = get_args(Quantity)
_ROWS_OF: Final[dict[Stage, tuple[RowName, ...]]] = {
    "vision": ("sam", "clip", "projector", "joining", "vision"),
    "prefill": ("prefill", "run"),
    "page": ("prefill", "run"),
    "decode": ("decode", "run"),
}
"""The rows that a pass of `verify` has to do with: what it leaves out is left out of them."""


@attrs.define
class Collected:
    """What was kept: parts of both sides, bytes held, what the modules did, and the comparisons of `verify`."""

    adapter: Adapter
    parts: dict[PartName, tuple[Folded, Folded]] = attrs.Factory(dict)
    held: dict[RowName, tuple[int, int]] = attrs.Factory(dict)
    runs: Runs = attrs.Factory(dict)
    kinds: dict[str, str] = attrs.Factory(dict)
    comparisons: list[Comparison] = attrs.Factory(list)
    unpriced: set[str] = attrs.Factory(set)
    _passes: set[Stage] = attrs.Factory(set)
    _joining: tuple[OwnOperators | None, OwnOperators | None] = (None, None)
    _vision_peaks: tuple[int, int] = (0, 0)

    def add(self, each: Pass, comparison: Comparison | None = None, shapes: Shapes | None = None) -> None:
        """Another pass. Vision alone comes before the pass that has it in; a step after those before it.

        Without a `comparison` nothing is kept of single modules.
        """
        sides = each.measured, each.analytic
        self._passes.add(each.point.stage)
        self.unpriced |= {found.name for found in each.measured.unpriced}
        self.kinds = {**categories(sides), **self.kinds}
        if comparison is not None:
            self.comparisons.append(comparison)
        if each.point.stage == "vision":
            self._joining = joining_of(each.measured), joining_of(each.analytic)
            self._vision_peaks = int(each.measured.peak_bytes), int(each.analytic.peak_bytes)
            return
        if each.point.stage == "decode":
            self._add_step(sides)
        else:
            self._add_prefill(sides)
        self.held["decode" if each.point.stage == "decode" else "prefill"] = each.held
        self.held["run"] = each.held
        if comparison is not None and not each.point.step:
            self._add_modules(each, comparison, shapes or {})

    def rows(self) -> tuple[StageRow, ...]:
        """The stages of all that was taken in."""
        skip: dict[RowName, set[Quantity]] = {}
        for stage in self._passes:
            left_out = self.adapter.unmodelled(stage, "")
            for row in _ROWS_OF[stage]:
                skip.setdefault(row, set()).update(quantity for quantity in QUANTITIES if quantity in left_out)
        return stage_rows(self.parts, self.held, self.kinds, skip)

    def _add_prefill(self, sides: tuple[Trace, Trace]) -> None:
        real, twin = (split_pass(trace, own) for trace, own in zip(sides, self._joining, strict=True))
        for parts, peak in zip((real, twin), self._vision_peaks, strict=True):
            if JOINING in parts:
                parts[JOINING].peak = peak  # of the whole vision pass, so that it is vision's: the largest of its parts
        for name in dict.fromkeys((*real, *twin)):
            self.parts[name] = real.get(name, Folded()), twin.get(name, Folded())

    def _add_step(self, sides: tuple[Trace, Trace]) -> None:
        before = self.parts.get("decode", (Folded(), Folded()))
        real, twin = (together([part, whole_pass(trace)]) for part, trace in zip(before, sides, strict=True))
        self.parts["decode"] = real, twin

    def _add_modules(self, each: Pass, comparison: Comparison, shapes: Shapes) -> None:
        def run_of(path: str) -> RunName:
            return "decode" if each.point.stage == "decode" else stage_of(path) or "pass"

        for path, runs in module_runs(each.measured, each.analytic, comparison, shapes, run_of).items():
            self.runs.setdefault(path, {}).update(runs)
