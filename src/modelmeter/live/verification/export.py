"""A report of a verification as plain data (schema `modelmeter.verification/1`), and that as JSON."""

import json
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.live.verification.compare import Check, Row
from modelmeter.live.verification.selection import Report, Shown
from modelmeter.live.verification.verify import Routing
from modelmeter.models.deepseek_ocr.views import ViewPlan

SCHEMA: Final = "modelmeter.verification/1"


def verification_data(report: Report, on: date | None = None) -> dict[str, Any]:
    """The report as dicts, lists, strings and numbers; integers are exact. `on`: its date, by default today's (UTC)."""
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "torch_version": version("torch"),
        "transformers_version": version_of("transformers"),
        "date": (on or datetime.now(UTC).date()).isoformat(),
        "reference": report.reference,
        "conventions": attrs.asdict(report.conventions),
        "ok": report.ok,
        "comparisons": [_comparison(each) for each in report.comparisons],
        "cross_checks": [{**attrs.asdict(each), "ok": each.ok, "why": each.why} for each in report.cross_checks],
    }


def to_json(report: Report) -> str:
    """`verification_data` as JSON text."""
    return json.dumps(verification_data(report), indent=1, ensure_ascii=False) + "\n"


def version_of(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _comparison(shown: Shown) -> dict[str, Any]:
    point = shown.point
    return {
        "stage": point.stage,
        "batch": point.batch,
        "context_len": point.context_len,
        "step": point.step,
        "backward": point.backward,
        "views": None if point.views is None else views_data(point.views),
        "ok": shown.ok,
        "total": None if shown.total is None else _row(shown.total),
        "layers": [_row(row) for row in shown.layers],
        "unmatched": list(shown.unmatched),
        "unpriced": [attrs.asdict(each) for each in shown.unpriced],
        "routing": None if shown.routing is None else _routing(shown.routing),
    }


def views_data(views: ViewPlan) -> dict[str, Any]:
    """The views of a page."""
    return {
        "grid": list(views.grid),
        "views": [list(view) for view in views.views],
        "image_tokens": views.image_tokens,
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "path": row.path,
        "layer": row.layer,
        "times": row.times,
        "ok": row.ok,
        "checks": {check.quantity: check_data(check) for check in row.checks},
        "operators": [{**attrs.asdict(operator), "ok": operator.ok} for operator in row.operators],
        "only_measured": list(row.only_measured),
        "only_analytic": list(row.only_analytic),
    }


def check_data(check: Check) -> dict[str, Any]:
    """One quantity on both sides."""
    return {
        "measured": check.measured,
        "analytic": check.analytic,
        "difference": check.difference,
        "relative": check.relative if check.measured or not check.difference else None,  # JSON has no infinity
        "bound": check.bound,
        "ok": check.ok,
    }


def _routing(routing: Routing) -> dict[str, Any]:
    return {"hit": list(routing.hit), "expected": routing.expected, "num_experts": routing.num_experts}
