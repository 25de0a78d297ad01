"""A run as plain data (schema `modelmeter.run/1`): summary.json."""

import json
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.hardware.machine import Machine
from modelmeter.hardware.page_time import LEVELS, Levels
from modelmeter.live.calibration.clock import Timing
from modelmeter.live.running.rates import StageRun
from modelmeter.live.running.summary import Equality, PageRun, RunSummary
from modelmeter.report.conventions import convention_notes

SCHEMA: Final = "modelmeter.run/1"


def summary_data(summary: RunSummary) -> dict[str, Any]:
    """The run as dicts, lists, strings and numbers: seconds, bytes, FLOPs; integers are exact."""
    work = attrs.asdict(summary.workload)
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "run_id": summary.run_id,
        "started": summary.started,
        "complete": summary.complete,
        "reason": summary.reason,
        "conventions": {
            **attrs.asdict(summary.conventions),
            "max_tiles": summary.workload.max_tiles,
            "notes": convention_notes(summary.conventions),
        },
        "model": {
            "name": summary.model,
            "parameters": summary.parameters,
            "weights_resident_bytes": summary.weights_bytes,
        },
        "precision": {**attrs.asdict(summary.precision), "description": summary.precision.describe()},
        "device": {"name": summary.device, "title": summary.device_title},
        "predicted_device": None if summary.machine is None else _machine(summary.machine),
        "workload": {
            "mode": work["mode"],
            "max_tiles": work["max_tiles"],
            "prompt_tokens": work["prompt_tokens"],
            "new_tokens": work["decode_tokens"] + 1,
            "batch_size": work["batch_size"],
        },
        "pages": [_page(page) for page in summary.pages],
        "totals": {name: _stage(stage) for name, stage in summary.totals.items()},
        "experts": [attrs.asdict(reached) for reached in summary.experts],
        "errors": [{"source": error.source, "message": error.message} for error in summary.errors],
    }


def to_json(summary: RunSummary) -> str:
    """`summary_data` as JSON text."""
    return json.dumps(summary_data(summary), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _machine(machine: Machine) -> dict[str, Any]:
    return {
        "name": machine.device.name,
        "title": machine.device.title,
        "execution": machine.execution,
        "level": "roofline" if machine.calibration is None else "calibrated",
    }


def _page(run: PageRun) -> dict[str, Any]:
    page, result = run.page, run.result
    return {
        "source": page.source,
        "page": page.number,
        "width": page.width,
        "height": page.height,
        "complete": run.reason is None,
        "reason": run.reason,
        "grid": list(run.views.grid),
        "views": [list(view) for view in run.views.views],
        "image_tokens": result.image_tokens,
        "prompt_tokens": result.prompt_tokens,
        "context_len": result.context_len,
        "generated_tokens": result.generated_tokens,
        "generated_ids": [list(ids) for ids in result.generated_ids],
        "text": result.text,
        "stop_reason": result.stop_reason,
        "warm_up": result.warm_up,
        "repeats": result.repeats,
        "stages": {name: _stage(stage) for name, stage in run.stages.items()},
        "decode_step_seconds": list(result.decode_steps),
        "peak_memory_bytes": result.peak_memory_bytes,
        "kv_cache_bytes": result.kv_cache_bytes,
        "checks": [_check(check) for check in run.checks],
    }


def _stage(stage: StageRun) -> dict[str, Any]:
    """A stage; rates are of its work in its time, those of a decode step of the mean step in the median time."""
    return {
        "seconds": stage.seconds,
        "spread": None if stage.spread is None else _spread(stage.spread),
        "passes": stage.passes,
        "tokens": stage.tokens,
        "tokens_per_second": stage.tokens_per_second,
        "flops": int(stage.work.cost.flops),
        "counted_flops": int(stage.work.cost.counted_flops),
        "io_bytes": int(stage.work.cost.io_bytes),
        "needed_flops": sum(stage.work.needed_flops.values()),
        "used_bytes": stage.work.used_bytes,
        "flops_per_second": stage.flops_per_second,
        "bytes_per_second": stage.bytes_per_second,
        "mfu": stage.mfu,
        "mbu": stage.mbu,
        "predicted_seconds": stage.predicted,
        "levels": None if stage.levels is None else _levels(stage.levels),
        "ratio": stage.ratio,
    }


def _spread(timing: Timing) -> dict[str, Any]:
    return {
        "low": timing.low,
        "first_quartile": timing.first_quartile,
        "third_quartile": timing.third_quartile,
        "high": timing.high,
        "repeats": timing.repeats,
    }


def _levels(levels: Levels) -> dict[str, float]:
    values = {name: getattr(levels, name) for name in LEVELS}
    return {name: float(value) for name, value in values.items() if value is not None}


def _check(check: Equality) -> dict[str, Any]:
    return {**attrs.asdict(check), "equal": check.equal}
