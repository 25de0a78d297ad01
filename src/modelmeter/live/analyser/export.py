"""A static analysis as plain data: the report, one file a class of layers, a scaling; as JSON, YAML and CSV."""

import csv
import io
import json
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import Cost
from modelmeter.live.analyser.data import ModuleNode, ModuleRun, OperatorRow, StageRow, StaticAnalysis
from modelmeter.live.analyser.layers import LayerClass, layer_classes
from modelmeter.live.analyser.lines import differences, left_out, notes, one_sided_operators, unmatched_modules
from modelmeter.live.analyser.scaling import ScalingPoint, StaticScaling
from modelmeter.live.analyser.shapes import CallShapes
from modelmeter.live.analyser.stages import MODULES, SHARED
from modelmeter.live.verification.export import check_data, version_of, views_data
from modelmeter.models.deepseek_ocr.config import Conventions

ANALYSIS_SCHEMA: Final = "modelmeter.static-analysis/1"
LAYER_SCHEMA: Final = "modelmeter.static-layer/1"
SCALING_SCHEMA: Final = "modelmeter.static-scaling/1"
COST_NAMES: Final = ("counted_flops", "flops", "weight_bytes", "activation_bytes", "kv_bytes", "io_bytes")
"""What the files say of a cost: FLOPs that a counter sees, all of them, bytes by whose memory moves, and their sum."""
_SCALED: Final = ("counted_flops", "weight_read_bytes", "kv_traffic_bytes", "activation_bytes", "peak_bytes",
                  "kv_cache_bytes")  # fmt: skip


def analysis_data(analysis: StaticAnalysis) -> dict[str, Any]:
    """The analysis as dicts, lists, strings and numbers; integers are exact."""
    point = analysis.point
    return {
        **_head(ANALYSIS_SCHEMA, analysis.reference, analysis.config.name, analysis.verification.conventions),
        "point": {
            "page": point.page,
            "views": None if point.views is None else views_data(point.views),
            "context_len": point.context_len,
            "batch_size": point.batch_size,
            "cached": point.cached,
            "decode_steps": point.decode_steps,
        },
        "ok": analysis.ok,
        "stage_map": {stage: list(paths) for stage, paths in MODULES.items()} | dict(SHARED),
        "parameters": {stage: {**attrs.asdict(found), "ok": found.ok} for stage, found in analysis.weights.items()},
        "stages": {row.name: _row(row) for row in analysis.stages},
        "differences": list(differences(analysis)),
        "unpriced_operators": left_out(analysis),
        "unmatched_modules": unmatched_modules(analysis),
        "one_sided_operators": one_sided_operators(analysis),
        "modules": _node(analysis.tree),
    }


def layer_files(analysis: StaticAnalysis) -> dict[str, dict[str, Any]]:
    """File name below `layers/` -> what it holds."""
    head = _head(LAYER_SCHEMA, analysis.reference, analysis.config.name, analysis.verification.conventions)
    return {each.file: {**head, **_layer(each)} for each in layer_classes(analysis.tree)}


def scaling_data(scaling: StaticScaling) -> dict[str, Any]:
    """The points that are done, and whether these are all."""
    return {
        **_head(SCALING_SCHEMA, scaling.reference, scaling.config.name, scaling.conventions),
        "grid": {name: list(values) for name, values in attrs.asdict(scaling.grid).items()},
        "complete": scaling.complete,
        "ok": scaling.ok,
        "points": [_point(point) for point in scaling.points],
    }


def to_json(data: dict[str, Any]) -> str:
    """Data as JSON text."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def result_json(result: StaticAnalysis | StaticScaling) -> str:
    """An analysis or a scaling as JSON text."""
    return to_json(scaling_data(result) if isinstance(result, StaticScaling) else analysis_data(result))


def to_yaml(data: dict[str, Any]) -> str:
    """Data as YAML text; equal things are written out."""
    import yaml

    plain = json.loads(json.dumps(data))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return text


def scaling_csv(scaling: StaticScaling) -> str:
    """A row for each point and stage: recorded, analytic and difference of every quantity."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    sides = [f"{name}_{side}" for name in _SCALED for side in ("recorded", "analytic", "difference")]
    writer.writerow(["length", "batch_size", "decode_steps", "stage", "ok", *sides])
    for point in scaling.points:
        for row in (point.prefill, point.decode):
            found = {check.quantity: check for check in row.checks}
            numbers: list[Any] = []
            for name in _SCALED:
                check = found.get(name)
                numbers += ["", "", ""] if check is None else [check.measured, check.analytic, check.difference]
            writer.writerow([point.length, point.batch_size, point.decode_steps, row.name, row.ok, *numbers])
    return out.getvalue()


def _head(schema: str, reference: str, model: str, conventions: Conventions) -> dict[str, Any]:
    return {
        "schema": schema,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "torch_version": version_of("torch"),
        "transformers_version": version_of("transformers"),
        "model": model,
        "reference": reference,
        "conventions": {**attrs.asdict(conventions), "notes": notes(conventions)},
    }


def _cost(cost: Cost) -> dict[str, int]:
    return {name: getattr(cost, name) for name in COST_NAMES}


def _row(row: StageRow) -> dict[str, Any]:
    return {
        "ok": row.ok,
        "recorded": _cost(row.recorded),
        "analytic": _cost(row.analytic),
        "checks": {check.quantity: check_data(check) for check in row.checks},
        "operators": [_operator(each) for each in row.operators],
    }


def _operator(row: OperatorRow) -> dict[str, Any]:
    check = row.check
    return {
        "name": check.name,
        "category": row.category,
        "recorded": {"calls": check.measured_calls, "flops": check.measured_flops, "bytes": check.measured_bytes},
        "analytic": {"calls": check.analytic_calls, "flops": check.analytic_flops, "bytes": check.analytic_bytes},
        "flops_share": row.flops_share,
        "bytes_share": row.bytes_share,
        "ok": check.ok,
    }


def _module(node: ModuleNode) -> dict[str, Any]:
    return {
        "class": node.class_name,
        "twin": node.twin,
        "parameters": node.parameters,
        "weights": {name: {**attrs.asdict(info), "shape": list(info.shape)} for name, info in node.weights.items()},
        "stages": {name: _run(run) for name, run in node.runs.items()},
    }


def _node(node: ModuleNode) -> dict[str, Any]:
    return {"paths": list(node.paths), **_module(node), "children": [_node(child) for child in node.children]}


def _run(run: ModuleRun) -> dict[str, Any]:
    return {
        "calls": run.calls,
        "shapes": [{"calls": calls, **_shapes(shapes)} for shapes, calls in run.shapes],
        "recorded": {**_cost(run.recorded), "peak_bytes": run.recorded_peak},
        "analytic": None if run.analytic is None else {**_cost(run.analytic), "peak_bytes": run.analytic_peak},
        "ok": run.ok,
    }


def _shapes(shapes: CallShapes) -> dict[str, Any]:
    return {
        name: [{"name": tensor, "shape": list(shape)} for tensor, shape in found]
        for name, found in (("inputs", shapes.inputs), ("outputs", shapes.outputs))
    }


def _layer(found: LayerClass) -> dict[str, Any]:
    return {
        "layer": found.name,
        "part": found.part,
        "kinds": [
            {
                "times": kind.times,
                "places": [{"paths": list(node.paths), "times": times} for times, node in kind.places],
                **_module(kind.node),
                "children": [
                    {"path": child.path.removeprefix(f"{kind.node.path}."), "class": child.class_name,
                     "repeats": child.repeats}
                    for child in kind.node.children
                ],
            }
            for kind in found.kinds
        ],
    }  # fmt: skip


def _point(point: ScalingPoint) -> dict[str, Any]:
    return {
        "length": point.length,
        "batch_size": point.batch_size,
        "decode_steps": point.decode_steps,
        "ok": point.ok,
        "unpriced_operators": list(point.unpriced),
        "prefill": _row(point.prefill),
        "decode": _row(point.decode),
    }
