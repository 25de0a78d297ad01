"""What a run was observed to do, as the page shows it: the tables of report.md, cell by cell."""

from typing import Any

from modelmeter.report.grid import Table
from modelmeter.report.model_report.observed import ObservedRun
from modelmeter.report.model_report.observed_tables import observed_tables


def observed_data(run: ObservedRun | None) -> list[dict[str, Any]]:
    """Its tables, none without a run."""
    return [] if run is None else [_table(table) for table in observed_tables(run)]


def _table(table: Table) -> dict[str, Any]:
    columns = [
        {"title": name.replace("-\n", "").replace("\n", " "), "numeric": place >= table.text_columns}
        for place, name in enumerate(table.columns)
    ]
    return {"title": table.title, "columns": columns, "rows": table.rows}
