"""The records and sums of a shadow run as data and as a JSON file."""

import json
from pathlib import Path
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.core import units
from modelmeter.core.cost import Cost
from modelmeter.live.shadow.aggregate import Aggregates, Total, aggregate
from modelmeter.live.shadow.records import EXACT, DecoderStep, VisionStep
from modelmeter.live.shadow.stats import AnalyticRunStats
from modelmeter.report.files import write_text

SCHEMA: Final = "modelmeter.analytic-run/1"


def write_stats(stats: AnalyticRunStats, path: str | Path) -> None:
    """Write `run_data` to a JSON file, whole or not at all. Raises `ModelMeterError` when it cannot."""
    write_text(path, json_text(run_data(stats)))


def json_text(data: dict[str, Any]) -> str:
    """JSON with a line for each record of a list: an indented file of a long run would be mostly indentation."""
    lines = [f"{json.dumps(name)}: {_lines(value)}" for name, value in data.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def run_data(stats: AnalyticRunStats) -> dict[str, Any]:
    """Records and aggregates as dicts, lists, strings and numbers; integers are exact."""
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "decoder_steps": [decoder_data(step) for step in stats.decoder_steps],
        "vision_steps": [vision_data(step) for step in stats.vision_steps],
        "aggregates": aggregates_data(aggregate(stats)),
    }


def decoder_data(step: DecoderStep) -> dict[str, Any]:
    """One decoder layer in one pass."""
    names = ("layer_idx", "stage", "step", "token_count", "kv_len", "batch_size", "document", "page")
    units_read = ("flops_tflops", "io_tb", "kv_gb")
    experts = ("experts_hit", "experts_expected", "weight_bytes_observed")
    return {name: getattr(step, name) for name in (*names, *units_read, *EXACT, "kv_cache_bytes", *experts)}


def vision_data(step: VisionStep) -> dict[str, Any]:
    """One call of a vision module."""
    names = ("module", "view", "stage", "document", "page")
    units_read = ("flops_tflops", "io_tb", "act_gb", "w_gb")
    held = ("activations_peak_bytes", "weights_held_bytes")
    shape = {"shape": list(step.shape)}
    return shape | {name: getattr(step, name) for name in (*names, *units_read, *EXACT, *held)}


def aggregates_data(sums: Aggregates) -> dict[str, Any]:
    """The sums."""
    mean = sums.mean_token
    return {
        "by_layer": {name: _total(total) for name, total in sums.by_layer.items()},
        "by_stage": {name: _total(total) for name, total in sums.by_stage.items()},
        "by_document": {name: _total(total) for name, total in sums.by_document.items()},
        "tokens": [{**attrs.asdict(token, recurse=False), "cost": cost_data(token.cost)} for token in sums.tokens],
        "mean_token": None if mean is None else cost_data(mean),
        "hooked": _total(sums.hooked),
        "whole": None if sums.whole is None else cost_data(sums.whole),
        "not_hooked": None if sums.not_hooked is None else {k: cost_data(v) for k, v in sums.not_hooked.items()},
        "observed": [attrs.asdict(page) for page in sums.observed],
        "experts": [attrs.asdict(reached) for reached in sums.experts],
    }


def cost_data(cost: Cost) -> dict[str, int | float]:
    """The whole numbers that add up, and FLOPs and bytes in the units people read."""
    exact = {name: int(getattr(cost, name)) for name in EXACT}
    return {
        **exact,
        "flops_tflops": float(units.to_tflops(exact["flops"])),
        "io_tb": float(units.to_terabits(exact["io_bytes"])),
    }


def _total(total: Total) -> dict[str, Any]:
    return {"calls": total.calls, **cost_data(total.cost)}


def _lines(value: Any) -> str:
    if not isinstance(value, list):
        return json.dumps(value, allow_nan=False)
    return "[\n" + ",\n".join(json.dumps(item, allow_nan=False) for item in value) + "\n]"
