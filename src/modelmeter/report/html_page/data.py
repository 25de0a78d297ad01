"""The report as the page takes it: short JSON, exact integers kept exact.

JavaScript's numbers hold whole ones up to 2**53. Larger integers are strings here; the page reads both as BigInt.
"""

from typing import Any, Final

from modelmeter.core.cost import COST_FIELDS, Cost, StageCost
from modelmeter.documents.pages import one_line
from modelmeter.hardware.page_time import Levels
from modelmeter.hardware.timeline import RESOURCES, Span
from modelmeter.report.conventions import convention_notes
from modelmeter.report.html_page.formula_tree import formula_tree
from modelmeter.report.html_page.observed import observed_data
from modelmeter.report.model_report.data import (
    RUN_STAGES,
    STAGE_NAMES,
    AnalyticModelReport,
    AnalyticModuleNode,
    ClosedFormula,
    DeviceSpecification,
    DocumentReport,
    ModuleMetricsSnapshot,
    OCRWorkloadProfile,
    OperatorMetrics,
    PageKind,
    PageTimes,
    StageReport,
    StageTiming,
    TimeMetrics,
)

OPERATOR_FIELDS: Final = ("name", "category", "dtype", "calls", "shapes", "cost", "time")
DIGITS: Final = 6
"""Significant digits of the seconds of modules and operators, of which there are many."""
LARGEST_NUMBER: Final = 2**53 - 1
"""The largest whole number that a float holds with all its neighbours (`Number.MAX_SAFE_INTEGER`)."""


def page_data(report: AnalyticModelReport) -> dict[str, Any]:
    """Everything the page shows, ready for JSON."""
    device = report.device
    return {
        "title": f"{report.model.name} on {device.title}" if device else report.model.name,
        "schema": report.schema,
        "program": report.modelmeter_version,
        "analytic_model": report.analytic_model_version,
        "cost_fields": COST_FIELDS,
        "operator_fields": OPERATOR_FIELDS,
        "resources": RESOURCES,
        "stage_names": STAGE_NAMES,
        "run_stages": RUN_STAGES,
        "model": {
            "name": report.model.name,
            "parameters": exact(report.model.parameters),
            "weights": exact(report.model.weights_resident_bytes),
            "precision": report.model.precision.describe(),
            "max_positions": report.model.config.decoder.max_position_embeddings,
        },
        "profile": _profile(report.profile),
        "device": None if device is None else _device(device),
        "documents": [_document(document) for document in report.documents],
        "errors": [[one_line(error.source), error.message] for error in report.errors],
        "kinds": [_kind(kind) for kind in report.kinds],
        "totals": {name: _stage(stage) for name, stage in report.totals.items()},
        "total_seconds": report.total_seconds,
        "observed": observed_data(report.observed),
        "verification": [
            {
                "quantity": statement.quantity,
                "stages": statement.stages,
                "exact": statement.exact,
                "bound": statement.bound,
                "meaning": statement.meaning,
                "command": statement.command,
            }
            for statement in report.verification
        ],
        "conventions": convention_notes(report.conventions),
        "notes": report.notes,
    }


def exact(number: int) -> int | str:
    """An integer that JavaScript reads without losing a digit."""
    return number if abs(number) <= LARGEST_NUMBER else str(number)


def rounded(seconds: float) -> float:
    """Seconds to `DIGITS` significant digits."""
    return float(f"{seconds:.{DIGITS}g}")


def _profile(profile: OCRWorkloadProfile) -> dict[str, Any]:
    return {
        "name": profile.name,
        "mode": profile.mode,
        "text_tokens": profile.text_tokens,
        "base_size": profile.base_size,
        "tile_size": profile.tile_size if profile.crops else None,
        "max_tiles": profile.max_tiles,
        "new_tokens": profile.new_tokens,
        "decode_steps": profile.decode_steps,
        "pages": profile.pages,
        "batch_size": profile.batch_size,
    }


def _device(device: DeviceSpecification) -> dict[str, Any]:
    return {
        "name": device.name,
        "title": device.title,
        "tensor": device.tensor,
        "vector": device.vector,
        "bandwidth": device.bandwidth,
        "memory": exact(device.memory_bytes),
        "execution": device.execution,
        "level": device.level,
        "host_seconds": device.host_seconds_per_kernel,
        "calibration": device.calibration,
    }


def _document(document: DocumentReport) -> dict[str, Any]:
    return {
        "source": one_line(document.source),
        "pages": [
            {
                "number": page.number,
                "label": one_line(page.label),
                "width": page.width,
                "height": page.height,
                "kind": page.kind,
                "time": None if page.time is None else _page_times(page.time),
            }
            for page in document.pages
        ],
    }


def _page_times(time: PageTimes) -> dict[str, Any]:
    return {
        "host": time.host_seconds,
        "ttft": _levels(time.ttft),
        "tpot": _levels(time.tpot),
        "decode": _levels(time.decode_total),
        "total": _levels(time.total),
        "tokens_per_second": time.tokens_per_second,
        "pages_per_second": time.pages_per_second,
    }


def _kind(kind: PageKind) -> dict[str, Any]:
    return {
        "mode": kind.mode,
        "grid": kind.grid,
        "views": kind.views,
        "image_tokens": kind.image_tokens,
        "context": kind.context_len,
        "pages": kind.pages,
        "stages": {name: _stage(stage) for name, stage in kind.stages.items()},
        "tree": _node(kind.tree),
        "decode": [
            {
                "step": point.step,
                "cached": point.cached_tokens,
                "kv": exact(point.kv_cache_bytes),
                "activations": exact(point.activation_peak_bytes),
                "memory": exact(point.memory_bytes),
                "flops": exact(point.flops),
                "io": exact(point.io_bytes),
                "seconds": None if point.seconds is None else _levels(point.seconds),
            }
            for point in kind.decode
        ],
        "roofline": [
            {
                "name": point.name,
                "stage": point.stage,
                "intensity": point.intensity,
                "rate": point.rate,
                "share": point.share,
                "whole": point.is_stage,
            }
            for point in kind.roofline
        ],
        "formulas": [_formula(formula) for formula in kind.formulas if formula.layer is None],
    }


def _formula(formula: ClosedFormula) -> dict[str, Any]:
    return {
        "stage": formula.stage,
        "quantity": formula.quantity,
        "text": formula.expression,
        "tree": formula_tree(formula.expression),
        "symbols": formula.symbols,
        "limits": formula.limits,
    }


def _stage(stage: StageReport) -> dict[str, Any]:
    return {
        **_stage_cost(stage.cost),
        "parts": {name: _stage_cost(part) for name, part in stage.parts.items()},
        "time": None if stage.time is None else _stage_time(stage.time),
    }


def _stage_cost(cost: StageCost) -> dict[str, Any]:
    return {
        "cost": _cost(cost.cost),
        "weights": exact(cost.weights_bytes),
        "activations": exact(cost.activations_bytes),
        "kv": exact(cost.kv_cache_bytes),
    }


def _stage_time(time: StageTiming) -> dict[str, Any]:
    return {
        "levels": _levels(time.levels),
        "span": _span(time.predicted),
        "binds": time.predicted.binds,
        "bound_by": time.bound_by,
        "kernels": time.kernels,
        "mfu": time.mfu,
        "mbu": time.mbu,
        "needed_flops": exact(time.needed_flops),
        "compulsory_bytes": exact(time.compulsory_bytes),
        "parts": {name: _span(span) for name, span in time.parts.items()},
        "measured": time.measured_seconds,
        "ratio": time.ratio,
    }


def _node(node: AnalyticModuleNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "path": node.path,
        "class": node.class_name,
        "about": node.about,
        "repeats": node.repeats,
        "paths": node.paths,
        "parameters": exact(node.parameters),
        "weights": exact(node.weights_bytes),
        "own": [[name, info.shape, info.dtype, exact(info.num_bytes)] for name, info in node.weights.items()],
        "stages": {stage: _snapshot(snapshot) for stage, snapshot in node.snapshots.items()},
        "children": [_node(child) for child in node.children],
    }


def _snapshot(snapshot: ModuleMetricsSnapshot) -> dict[str, Any]:
    return {
        "calls": snapshot.calls,
        **_stage_cost(snapshot.cost),
        "time": None if snapshot.time is None else _time(snapshot.time),
        "operators": [_operator(operator) for operator in snapshot.operators],
    }


def _operator(operator: OperatorMetrics) -> list[Any]:
    """In the order of `OPERATOR_FIELDS`: there are hundreds, so they carry no names."""
    return [
        operator.name,
        operator.category.value,
        operator.dtype,
        operator.calls,
        operator.shapes,
        _cost(operator.cost),
        None if operator.time is None else _time(operator.time),
    ]


def _time(time: TimeMetrics) -> list[float]:
    """The span, and where it was measured those seconds."""
    measured = [] if time.measured_seconds is None else [rounded(time.measured_seconds)]
    return [*_span(time.predicted), *measured]


def _cost(cost: Cost) -> list[int | str]:
    """The quantities in the order of `COST_FIELDS`."""
    return [exact(value) for value in cost.values()]


def _span(span: Span) -> list[float]:
    """Seconds in all, then of each of `RESOURCES`."""
    return [rounded(float(value)) for value in (span.seconds, *[getattr(span, name) for name in RESOURCES])]


def _levels(levels: Levels) -> dict[str, float | None]:
    return {
        "bound": levels.bound,
        "roofline": levels.roofline,
        "calibrated": levels.calibrated,
        "predicted": levels.predicted,
    }
