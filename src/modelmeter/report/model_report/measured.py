"""Measured times beside the predicted ones of a report."""

from collections.abc import Mapping

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.model_report.data import (
    AnalyticModelReport,
    AnalyticModuleNode,
    ModuleMetricsSnapshot,
    PageKind,
    StageName,
)


def with_measured(
    report: AnalyticModelReport, stage: StageName, seconds: Mapping[str, float], *, kind: int = 0
) -> AnalyticModelReport:
    """The report with measured seconds of a stage by module path ("" is the whole stage), for one kind of page.

    A node that stands for several modules gets the mean of those that were measured. Raises `ModelMeterError` for a
    path that the stage does not run, and where the report has no times to lay them beside.
    """
    if not 0 <= kind < len(report.kinds):
        raise ModelMeterError(f"with_measured(): there is no kind {kind} of page, the report has {len(report.kinds)}")
    found = report.kinds[kind]
    used: set[str] = set()
    changed = attrs.evolve(found, tree=_with(found.tree, ("",), stage, seconds, used))
    unknown = sorted(set(seconds) - used)
    if unknown:
        raise ModelMeterError(f"with_measured(): no predicted time of {unknown[0]!r} in {stage}: check the path")
    if "" in seconds:
        changed = _with_stage(changed, stage, seconds[""])
    kinds = [changed if place == kind else other for place, other in enumerate(report.kinds)]
    return attrs.evolve(report, kinds=tuple(kinds))


def _with_stage(kind: PageKind, stage: StageName, seconds: float) -> PageKind:
    held = kind.stages[stage]
    if held.time is None:
        raise ModelMeterError("with_measured() needs a report with times: build it with a machine")
    timed = attrs.evolve(held, time=attrs.evolve(held.time, measured_seconds=seconds))
    return attrs.evolve(kind, stages={**kind.stages, stage: timed})


def _with(
    node: AnalyticModuleNode, places: tuple[str, ...], stage: StageName, seconds: Mapping[str, float], used: set[str]
) -> AnalyticModuleNode:
    """The node with what was measured of the modules at `places`, all that it stands for."""
    children = []
    for child in node.children:
        names = [path.removeprefix(f"{node.path}." if node.path else "") for path in child.paths]
        below = tuple(f"{place}.{name}" if place else name for place in places for name in names)
        children.append(_with(child, below, stage, seconds, used))
    own = [place for place in places if place in seconds]
    snapshot = node.snapshots.get(stage)
    snapshots = node.snapshots
    if own and snapshot is not None and snapshot.time is not None:
        used.update(own)
        mean = sum(seconds[place] for place in own) / len(own)
        snapshots = {**snapshots, stage: _measured(snapshot, mean)}
    return attrs.evolve(node, children=tuple(children), snapshots=snapshots)


def _measured(snapshot: ModuleMetricsSnapshot, seconds: float) -> ModuleMetricsSnapshot:
    time = None if snapshot.time is None else attrs.evolve(snapshot.time, measured_seconds=seconds)
    return attrs.evolve(snapshot, time=time)
