"""A `ScalingComparison` as plain data (schema `modelmeter.scaling-comparison/1`), and that as JSON or CSV."""

import csv
import io
import json
from fractions import Fraction
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.hardware.page_time import LEVELS
from modelmeter.report.compare.compare import as_float
from modelmeter.report.scaling_compare.advice import notes, recommendation
from modelmeter.report.scaling_compare.commands import commands
from modelmeter.report.scaling_compare.compare import STAGES, ScalingComparison, StagePair, Statistics

SCHEMA: Final = "modelmeter.scaling-comparison/1"


def scaling_comparison_data(found: ScalingComparison) -> dict[str, Any]:
    """The comparison as dicts, lists, strings and numbers. FLOPs and seconds of decode are those of a step."""
    machine = found.machine
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "analytic": {
            "file": str(found.files.analytic),
            "model": found.analytic.model,
            "analytic_model_version": found.analytic.analytic_model_version,
        },
        "measured": {
            "file": str(found.files.measured),
            "model": found.measured.model,
            "analytic_model_version": found.measured.analytic_model_version,
            "device": attrs.asdict(found.measured.device),
            "complete": found.measured.complete,
        },
        "device": None if machine is None else machine.device.name,
        "execution": None if machine is None else machine.execution,
        "settings": [attrs.asdict(each) for each in found.settings],
        "threshold": as_float(found.threshold),
        "exceeding": found.exceeding,
        "points": [
            {
                "seq_len_prefill": length,
                **{pair.stage: stage_data(pair) for pair in found.pairs if pair.length == length},
            }
            for length in dict.fromkeys(pair.length for pair in found.pairs)
        ],
        "summary": {
            stage: {
                "flops_relative": _statistics(found.flops_statistics(stage)),
                "time_ratio": _statistics(found.time_statistics(stage)),
            }
            for stage in STAGES
        },
        "only_analytic": list(found.only_analytic),
        "only_measured": list(found.only_measured),
        "skipped": [attrs.asdict(each) for each in found.measured.skipped],
        "recommendation": recommendation(found),
        "notes": notes(found),
        "commands": commands(found),
    }


def stage_data(pair: StagePair) -> dict[str, Any]:
    """One stage of one length; None for what was not counted or predicted."""
    levels = None if pair.predicted is None else attrs.asdict(pair.predicted.seconds)
    return {
        "analytic_flops": _number(pair.analytic_flops),
        "measured_flops": _number(pair.measured_flops),
        "flops_difference": _number(pair.difference),
        "flops_relative": None if pair.relative is None else as_float(pair.relative),
        "measured_seconds": pair.seconds,
        "first_quartile_seconds": pair.spread.first_quartile_ms / 1e3,
        "third_quartile_seconds": pair.spread.third_quartile_ms / 1e3,
        **{f"{name}_seconds": None if levels is None else levels[name] for name in LEVELS},
        "time_ratio": pair.ratio,
        "mfu": pair.mfu,
        "mbu": pair.mbu,
    }


def to_json(found: ScalingComparison) -> str:
    """`scaling_comparison_data` as JSON text."""
    return json.dumps(scaling_comparison_data(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(found: ScalingComparison) -> str:
    """A row for each length and stage; what is not known is empty."""
    rows = [{"seq_len_prefill": pair.length, "stage": pair.stage, **stage_data(pair)} for pair in found.pairs]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _statistics(found: Statistics | None) -> dict[str, float] | None:
    return None if found is None else attrs.asdict(found)


def _number(value: Fraction | None) -> int | float | None:
    """Whole numbers are whole; the mean of some steps need not be."""
    if value is None:
        return None
    return value.numerator if value.denominator == 1 else as_float(value)
