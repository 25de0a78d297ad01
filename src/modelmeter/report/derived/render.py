"""A derived table on a terminal and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING, Any

from modelmeter.report import units
from modelmeter.report.conventions import convention_notes
from modelmeter.report.derived.table import Column, DerivedTable
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console


def print_derived(table: DerivedTable, console: "Console | None" = None) -> None:
    """Print the table; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(table), style="bold")
    print_table(console, grid_of(table))
    console.print()
    for line in notes(table):
        print_line(console, f"- {line}")


def to_markdown(table: DerivedTable) -> str:
    """The same as Markdown."""
    lines = [f"# {escape(table.kind.title)}", "", escape(heading(table)), "", *markdown_table(grid_of(table)), ""]
    return "\n".join([*lines, *[f"- {escape(line)}" for line in notes(table)]]) + "\n"


def heading(table: DerivedTable) -> str:
    """One line: the model and the workload."""
    model, work = table.model, table.work
    name = "a model of given layers" if model.config is None else model.config.name
    batch = f", {work.batch_size} such pages at a time" if work.batch_size > 1 else ""
    return (
        f"{name}, {model.precision.describe()}; a global view of {work.base_size} px, tiles of {work.tile_size} px; "
        f"each page {work.prompt_tokens} prompt tokens, {work.decode_tokens} decode steps{batch}"
    )


def notes(table: DerivedTable) -> list[str]:
    """What the numbers rest on."""
    numbers = "FLOPs and bytes are rounded here; CSV and JSON have them exactly, and have more columns"
    return [*table.notes, numbers, *convention_notes(table.model.conventions)]


def grid_of(table: DerivedTable) -> Table:
    """The rows as text; a line ends the rows of a shape where there are several."""
    columns, rows = [column for column in table.columns if column.in_text], table.rows
    grids = [row["grid"] for row in rows]
    ends = [i for i in range(len(rows) - 1) if grids[i] != grids[i + 1]] if len(set(grids)) < len(rows) else []
    return Table(
        title=table.kind.title,
        columns=tuple(column.header for column in columns),
        rows=tuple(tuple(written(row[column.name], column) for column in columns) for row in rows),
        text_columns=sum(column.unit is None for column in columns),
        rules=frozenset(ends),
        marked=frozenset(i for i, row in enumerate(rows) if table.kind.over(row)),
    )


def written(value: Any, column: Column) -> str:
    """A value in the unit of its column, as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.unit is None:
        return str(value)
    if column.unit == "B":
        return f"{'-' if value < 0 else ''}{units.size(abs(value))}"
    if column.unit == "FLOP":
        return units.flops(value)
    if column.unit == "s":
        return units.seconds(value)
    if column.name.endswith("_share"):
        return f"{value:.2%}"
    return f"{value:,}" if isinstance(value, int) else units.ratio(value)
