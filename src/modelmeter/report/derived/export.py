"""A derived table as plain data (schema `modelmeter.table/1`), and that as JSON or CSV."""

import csv
import io
import json
from typing import Any

import attrs

from modelmeter._version import ANALYTIC_MODEL_VERSION, __version__
from modelmeter.report.conventions import convention_notes
from modelmeter.report.derived.table import DerivedTable

SCHEMA = "modelmeter.table/1"


def table_data(table: DerivedTable) -> dict[str, Any]:
    """The table as dicts, lists, strings and numbers; FLOPs and bytes are exact integers.

    `keys` are the columns that tell one row from another.
    """
    model, columns = table.model, table.columns
    return {
        "schema": SCHEMA,
        "modelmeter_version": __version__,
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
        "conventions": {**attrs.asdict(model.conventions), "notes": convention_notes(model.conventions)},
        "model": {
            "name": "" if model.config is None else model.config.name,
            "parameters": model.parameter_count(),
        },
        "precision": {**attrs.asdict(model.precision), "description": model.precision.describe()},
        "workload": {**attrs.asdict(table.work), "reserve": str(table.work.reserve)},
        "devices": [device.name for device in table.devices],
        "table": table.kind.name,
        "title": table.kind.title,
        "notes": table.notes,
        "keys": [column.name for column in columns if column.key],
        "columns": [{"name": column.name, "unit": column.unit} for column in columns],
        "rows": [{column.name: row[column.name] for column in columns} for row in table.rows],
    }


def to_json(table: DerivedTable) -> str:
    """`table_data` as JSON text."""
    return json.dumps(table_data(table), indent=1, ensure_ascii=False) + "\n"


def to_csv(table: DerivedTable) -> str:
    """The rows, each with what they rest on in its last cells; truths are true and false."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    work, chosen = table.work, attrs.asdict(table.model.conventions)
    about = {
        "prompt_tokens": work.prompt_tokens,
        "decode_tokens": work.decode_tokens,
        "batch_size": work.batch_size,
        "precision": table.model.precision.describe(),
        "conventions": " ".join(f"{name}={value}" for name, value in chosen.items()),
        "analytic_model_version": ANALYTIC_MODEL_VERSION,
    }
    names = [column.name for column in table.columns]
    writer.writerow([*names, *about])
    for row in table.rows:
        writer.writerow([*[_cell(row[name]) for name in names], *about.values()])
    return out.getvalue()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
