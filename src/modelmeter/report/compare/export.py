"""A `Comparison` as plain data (schema `modelmeter.comparison/1`), and that as JSON or CSV."""

import csv
import io
import json
import math
from fractions import Fraction
from typing import Any, Final

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.report.compare.compare import Comparison, Difference, Lone, as_float
from modelmeter.report.compare.tidy import Tidy

SCHEMA: Final = "modelmeter.comparison/1"
_COLUMNS = ("quantity", "difference", "a", "b", "absolute", "relative")


def comparison_data(found: Comparison) -> dict[str, Any]:
    """The comparison as dicts, lists, strings and numbers; every difference, the largest relative one first."""
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "a": _side(found.a),
        "b": _side(found.b),
        "allowed": sorted(found.allowed),
        "threshold": None if found.threshold is None else as_float(found.threshold),
        "exceeding": None if found.threshold is None else found.exceeding,
        "compared": found.compared,
        "equal": found.equal,
        "settings": [attrs.asdict(each) for each in found.settings],
        "numbers": [_number(each) for each in found.numbers],
        "states": [_pair(each) for each in found.states],
        "words": [_pair(each) for each in found.words],
        "only_a": [_lone(each) for each in found.only_a],
        "only_b": [_lone(each) for each in found.only_b],
    }


def to_json(found: Comparison) -> str:
    """`comparison_data` as JSON text."""
    return json.dumps(comparison_data(found), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_csv(found: Comparison) -> str:
    """A line for each difference: a column for each name in the rows' keys, then what differs and how."""
    data = comparison_data(found)
    kinds = {"numbers": "number", "states": "state", "words": "word", "only_a": "only in A", "only_b": "only in B"}
    lines = [{**each["row"], **each, "difference": kind} for name, kind in kinds.items() for each in data[name]]
    used = {name for line in lines for name in line["row"]}
    keys = [name for name in _names(found) if name in used]
    out = io.StringIO()
    writer = csv.DictWriter(out, [*keys, *_COLUMNS], restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _names(found: Comparison) -> dict[str, None]:
    """What rows are named by, in the order of the files."""
    return dict.fromkeys(name for side in (found.a, found.b) for key in side.rows for name, _ in key)


def _side(side: Tidy) -> dict[str, str]:
    return {"file": side.name, "schema": side.schema, "analytic_model_version": side.analytic_model_version}


def _pair(each: Difference) -> dict[str, Any]:
    return {"row": dict(each.key), "quantity": each.quantity, "a": each.a, "b": each.b}


def _number(each: Difference) -> dict[str, Any]:
    return {**_pair(each), "absolute": _finite(each.absolute), "relative": _finite(each.relative)}


def _finite(value: int | float | Fraction | None) -> int | float | None:
    """A number that JSON can hold; None for one beyond every float."""
    if isinstance(value, Fraction):
        value = as_float(value)
    return None if isinstance(value, float) and math.isinf(value) else value


def _lone(each: Lone) -> dict[str, Any]:
    return {"row": dict(each.key), "quantity": each.quantity, "values": each.values}
