"""A profile as plain data (schema `modelmeter.profile/1`), and that as JSON, CSV or Markdown."""

import csv
import io
import json
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.profiles.kinds import KINDS
from modelmeter.profiles.prediction import Predicted
from modelmeter.profiles.profile import Total
from modelmeter.report.conventions import convention_notes
from modelmeter.report.grid import escape, markdown_table
from modelmeter.report.profiles.build import Expected, ProfileReport, StageRow, stage_rows
from modelmeter.report.profiles.notes import heading, notes
from modelmeter.report.profiles.tables import profile_tables
from modelmeter.report.timing.export import device_data

SCHEMA = "modelmeter.profile/1"


def profile_data(report: ProfileReport) -> dict[str, Any]:
    """The profile as dicts, lists, strings and numbers; seconds, nanoseconds where exact."""
    profile, prediction, expected = report.profile, report.prediction, report.expected
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "source": profile.source,
        "tool": profile.tool,
        "runs_on": profile.runs_on,
        "device_name": profile.device_name,
        "runs": report.runs,
        "decode_steps": report.decode_steps,
        "unfinished_events": profile.unfinished,
        "level": None if prediction is None else prediction.level,
        **_expected(expected),
        "stages": {row.name: _row(report, row) for row in stage_rows(report)},
        "kernels": [attrs.asdict(kernel) for kernel in profile.kernels],
        "notes": notes(report),
    }


def to_json(report: ProfileReport) -> str:
    """`profile_data` as JSON text."""
    return json.dumps(profile_data(report), indent=1, ensure_ascii=False) + "\n"


def to_csv(report: ProfileReport) -> str:
    """A row for each kernel and stage, the longest first."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["stage", "kind", "launches", "nanoseconds", "tensor_cores", "name"])
    for kernel in report.profile.kernels:
        cores = "" if kernel.tensor_cores is None else str(kernel.tensor_cores).lower()
        writer.writerow([kernel.stage, kernel.kind, kernel.launches, kernel.nanoseconds, cores, kernel.name])
    return out.getvalue()


def to_markdown(report: ProfileReport) -> str:
    """The tables as Markdown."""
    lines = ["# A profile of DeepSeek-OCR", "", escape(heading(report)), ""]
    for table in profile_tables(report):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    lines += ["## What the numbers rest on", "", *[f"- {escape(line)}" for line in notes(report)]]
    return "\n".join(lines) + "\n"


def _expected(expected: Expected | None) -> dict[str, Any]:
    """What was predicted, under the names that every result has; None for each where nothing was."""
    if expected is None:
        return dict.fromkeys(("page", "workload", "model", "device", "precision", "conventions"))
    page, workload = expected.page, attrs.asdict(expected.workload)
    return {
        "page": {"source": page.source, "number": page.number, "width": page.width, "height": page.height},
        "workload": {name: value for name, value in workload.items() if name != "by_layer"},
        "model": {"name": None if expected.config is None else expected.config.name},
        "device": device_data(expected.machine),
        "precision": {**attrs.asdict(expected.precision), "description": expected.precision.describe()},
        "conventions": {**attrs.asdict(expected.conventions), "notes": convention_notes(expected.conventions)},
    }


def _row(report: ProfileReport, row: StageRow) -> dict[str, Any]:
    stages = report.groups[row.name]
    measured, mfu_and_mbu = report.profile.by_kind(stages), row.shares or (None, None)
    kinds = {}
    for kind in KINDS:
        predicted = report.predicted(stages, kind)
        if kind in measured or predicted not in (None, Predicted()):
            kinds[kind] = {**_total(measured.get(kind, Total())), "predicted": _predicted(predicted)}
    return {
        "of": list(stages),
        "ranges": row.ranges,
        **_total(row.measured),
        "elapsed_seconds": row.elapsed,
        "predicted": _predicted(row.predicted),
        "launches_per_token": row.launches_per_token,
        "mfu": mfu_and_mbu[0],
        "mbu": mfu_and_mbu[1],
        "kinds": kinds,
    }


def _predicted(found: Predicted | None) -> dict[str, float] | None:
    return None if found is None else attrs.asdict(found)


def _total(total: Total) -> dict[str, Any]:
    return {**attrs.asdict(total), "seconds": total.seconds}
