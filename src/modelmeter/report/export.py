"""An analysis as plain data (schema `modelmeter.analysis/1`), and that as JSON, YAML or CSV."""

import csv
import io
import json
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core.cost import STAGE_FIELDS, Cost, StageCost
from modelmeter.report.analysis import STAGES, Analysis, PageResult, StageResult
from modelmeter.report.conventions import convention_notes

SCHEMA = "modelmeter.analysis/1"
EXACT_FIELDS = (
    "tensor_flops",
    "cuda_flops",
    "counted_flops",
    "weight_bytes",
    "activation_bytes",
    "kv_bytes",
    "io_bytes",
    "weights_resident_bytes",
    "activation_peak_bytes",
    "kv_cache_bytes",
)
"""The exact integers of a stage or part."""
LAYER_FIELDS = EXACT_FIELDS[:7]


def analysis_data(analysis: Analysis) -> dict[str, Any]:
    """The analysis as dicts, lists, strings and numbers; integers are exact."""
    workload = attrs.asdict(analysis.workload)
    data = {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "conventions": {
            **attrs.asdict(analysis.conventions),
            "max_tiles": analysis.workload.max_tiles,
            "notes": convention_notes(analysis.conventions),
        },
        "model": {
            "name": analysis.config.name,
            "parameters": analysis.parameters,
            "weights_resident_bytes": analysis.weights_bytes,
            "config": attrs.asdict(analysis.config),
        },
        "precision": {**attrs.asdict(analysis.precision), "description": analysis.precision.describe()},
        "workload": {name: value for name, value in workload.items() if name != "by_layer"},
        "pages": [_page(page) for page in analysis.pages],
        "errors": [{"source": error.source, "message": error.message} for error in analysis.errors],
        "totals": _totals(analysis),
    }
    if analysis.timing is None:
        return data
    from modelmeter.report.timing.export import timing_data

    return {**data, "time": timing_data(analysis.timing)}


def to_json(analysis: Analysis) -> str:
    """`analysis_data` as JSON text."""
    return json.dumps(analysis_data(analysis), indent=1, ensure_ascii=False) + "\n"


def to_yaml(analysis: Analysis) -> str:
    """`analysis_data` as YAML text."""
    import yaml

    plain = json.loads(json.dumps(analysis_data(analysis)))
    text: str = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=120)
    return text


def to_csv(analysis: Analysis) -> str:
    """One row for each page and stage; the exact integers and the `StageCost` fields."""
    out = io.StringIO()
    head = ["source", "page", "width", "height", "mode", "grid_columns", "grid_rows", "image_tokens", "context_len"]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, "stage", *EXACT_FIELDS, *STAGE_FIELDS, "conventions"])
    chosen = " ".join(f"{name}={value}" for name, value in attrs.asdict(analysis.conventions).items())
    for result in analysis.pages:
        page, views = result.page, result.views
        place = [page.source, page.number, page.width, page.height, views.mode, *views.grid]
        for name in STAGES:
            numbers = stage_numbers(result.stages[name].cost)
            writer.writerow([*place, views.image_tokens, result.context_len, name, *numbers.values(), chosen])
    return out.getvalue()


def stage_numbers(stage: StageCost) -> dict[str, Any]:
    """The exact integers and the `StageCost` fields of a stage."""
    exact = [*_layer_values(stage.cost), stage.weights_bytes, stage.activations_bytes, stage.kv_cache_bytes]
    fields = {name: float(getattr(stage, name)) for name in STAGE_FIELDS}
    return {**dict(zip(EXACT_FIELDS, exact, strict=True)), **fields}


def _layer_values(cost: Cost) -> list[int]:
    return [getattr(cost, name) for name in LAYER_FIELDS]


def _page(result: PageResult) -> dict[str, Any]:
    page, views = result.page, result.views
    return {
        "source": page.source,
        "page": page.number,
        "width": page.width,
        "height": page.height,
        "mode": views.mode,
        "grid": list(views.grid),
        "views": [list(view) for view in views.views],
        "image_tokens": views.image_tokens,
        "context_len": result.context_len,
        "stages": {name: _stage(result.stages[name]) for name in STAGES},
    }


def _stage(stage: StageResult) -> dict[str, Any]:
    data: dict[str, Any] = stage_numbers(stage.cost)
    data["parts"] = {part: stage_numbers(cost) for part, cost in stage.parts.items()}
    if stage.layers is not None:
        data["layers"] = {
            path: dict(zip(LAYER_FIELDS, _layer_values(cost), strict=True)) for path, cost in stage.layers.items()
        }
    return data


def _totals(analysis: Analysis) -> dict[str, Any]:
    pages = analysis.pages
    return {
        "pages": len(pages),
        "image_tokens": sum(page.views.image_tokens for page in pages),
        "context_tokens": sum(page.context_len for page in pages),
        "decode_tokens": analysis.workload.decode_tokens * len(pages),
        "stages": {name: _stage(stage) for name, stage in analysis.totals.items()},
    }
