"""An analysis on a terminal and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING

from modelmeter.report.analysis import Analysis
from modelmeter.report.grid import console_for, escape, markdown_table, print_line, print_table
from modelmeter.report.tables import analysis_tables, heading, notes

if TYPE_CHECKING:
    from rich.console import Console


def print_analysis(analysis: Analysis, console: "Console | None" = None) -> None:
    """Print the analysis; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(analysis), style="bold")
    for table in analysis_tables(analysis):
        print_table(console, table)
    console.print("\nConventions", style="bold")
    for line in notes(analysis):
        print_line(console, f"- {line}")


def to_markdown(analysis: Analysis) -> str:
    """The same as Markdown."""
    lines = ["# What DeepSeek-OCR costs on these pages", "", heading(analysis), ""]
    for table in analysis_tables(analysis):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    if analysis.errors:
        lines += ["## Not read", "", *[f"- {escape(str(error))}" for error in analysis.errors], ""]
    lines += ["## Conventions", "", *[f"- {line}" for line in notes(analysis)]]
    return "\n".join(lines) + "\n"
