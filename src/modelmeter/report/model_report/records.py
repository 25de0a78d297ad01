"""What one stage recorded, module path by module path: the folds that the tree is made of."""

from typing import TypeAlias

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.op import Op
from modelmeter.core.trace import Trace
from modelmeter.hardware.timeline import Span, Timeline
from modelmeter.report.model_report.metrics import OperatorCategory, OperatorMetrics, StageName, TimeMetrics

OperatorKey: TypeAlias = tuple[str, OperatorCategory, str]
"""(name, category, dtype): calls of a module that agree in these are one row."""


@attrs.frozen(kw_only=True)
class StageRecord:
    """One stage of a page: its cost, its trace, and its timeline on a device, if there is one."""

    name: StageName
    cost: StageCost
    trace: Trace
    timeline: Timeline | None = None


@attrs.define
class _Calls:
    """The calls of one operator in one module."""

    number: int = 0
    cost: Cost = attrs.Factory(Cost)
    shapes: dict[tuple[int, ...], None] = attrs.Factory(dict)
    span: Span = attrs.Factory(Span)


@attrs.define
class ModuleRecord:
    """One module path in one stage: how often it was called, its largest peak in bytes, its own operators."""

    calls: int = 0
    peak_bytes: int = 0
    operators: tuple[OperatorMetrics, ...] = ()


def category_of(op: Op) -> OperatorCategory:
    """The category of an operator: by its name where the kind is wider than that."""
    if op.kind == "fused":
        return OperatorCategory.ATTENTION  # the one fused kernel there is: an attention core
    if op.kind == "matmul":
        return OperatorCategory.CONVOLUTION if op.name == "convolution" else OperatorCategory.MATMUL
    return OperatorCategory.ELEMENTWISE if op.kind == "elementwise" else OperatorCategory.MOVE


def module_records(stage: StageRecord) -> dict[str, ModuleRecord]:
    """Every module path that the stage calls; the model itself is ""."""
    records: dict[str, ModuleRecord] = {}
    for path, segment in stage.trace.segments():
        record = records.setdefault(path, ModuleRecord())
        record.calls += 1
        record.peak_bytes = max(record.peak_bytes, segment.peak()[1])
    for path, operators in _operators(stage).items():
        records[path].operators = operators
    return records


def _operators(stage: StageRecord) -> dict[str, tuple[OperatorMetrics, ...]]:
    """The operators that each module runs itself, in the order of their first calls."""
    found: dict[str, dict[OperatorKey, _Calls]] = {}
    for path, op in stage.trace.operators():
        calls = found.setdefault(path, {}).setdefault(_key(op), _Calls())
        calls.number += 1
        calls.cost = calls.cost + op.cost
        calls.shapes[tuple(op.shape)] = None
    if stage.timeline is not None:
        pieces = (((path, _key(op)), op) for path, op in stage.trace.operators())
        for (path, key), span in stage.timeline.split(pieces).items():
            found[path][key].span = span
    timed = stage.timeline is not None
    return {path: tuple(_metrics(key, calls, timed) for key, calls in rows.items()) for path, rows in found.items()}


def _key(op: Op) -> OperatorKey:
    return (op.name, category_of(op), op.dtype.name)


def _metrics(key: OperatorKey, calls: _Calls, timed: bool) -> OperatorMetrics:
    name, category, dtype = key
    return OperatorMetrics(
        name=name,
        category=category,
        dtype=dtype,
        calls=calls.number,
        shapes=tuple(calls.shapes),
        cost=calls.cost,
        time=TimeMetrics(predicted=calls.span) if timed else None,
    )
