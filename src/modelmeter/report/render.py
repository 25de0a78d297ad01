"""Tables on a terminal (rich) and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING

from modelmeter.report.analysis import Analysis
from modelmeter.report.tables import Table, analysis_tables, heading, notes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

_PLAIN_WIDTH = 200  # columns, where the output is not a terminal: lines are not wrapped for a reader that has none


def print_analysis(analysis: Analysis, console: "Console | None" = None) -> None:
    """Print the analysis; plain text without colour where the output is not a terminal."""
    from rich.console import Console

    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=_PLAIN_WIDTH, color_system=None)
    console.print(heading(analysis), style="bold", highlight=False, markup=False)
    for table in analysis_tables(analysis):
        console.print()
        grid = _grid(table, plain=not console.is_terminal or not console.encoding.lower().startswith("utf"))
        # A narrower terminal wraps lines, which is better than numbers cut off.
        console.print(grid, width=max(console.width, console.measure(grid).minimum))
    console.print("\nConventions", style="bold")
    for line in notes(analysis):
        console.print(f"- {line}", highlight=False, markup=False)


def to_markdown(analysis: Analysis) -> str:
    """The same as Markdown."""
    lines = ["# What DeepSeek-OCR costs on these pages", "", heading(analysis), ""]
    for table in analysis_tables(analysis):
        lines += [f"## {_escape(table.title)}", "", *_markdown_table(table), ""]
    if analysis.errors:
        lines += ["## Not read", "", *[f"- {_escape(str(error))}" for error in analysis.errors], ""]
    lines += ["## Conventions", "", *[f"- {line}" for line in notes(analysis)]]
    return "\n".join(lines) + "\n"


def _grid(table: Table, *, plain: bool) -> "RichTable":
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    grid = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=box.ASCII2 if plain else box.SIMPLE_HEAD,
        pad_edge=plain,
        padding=(0, 1) if plain else (0, 1, 0, 0),
    )
    for i, column in enumerate(table.columns):
        is_text = i < table.text_columns
        grid.add_column(column, justify="left" if is_text else "right", overflow="fold", no_wrap=not is_text)
    for i, row in enumerate(table.rows):
        grid.add_row(*[Text(cell) for cell in row], end_section=i in table.rules)
    return grid


def _markdown_table(table: Table) -> list[str]:
    marks = [":---" if i < table.text_columns else "---:" for i in range(len(table.columns))]
    columns = tuple(column.replace("\n", " ") for column in table.columns)
    rows = [columns, tuple(marks), *[tuple(_escape(cell) for cell in row) for row in table.rows]]
    return ["| " + " | ".join(row) + " |" for row in rows]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")
