"""A profile on a terminal."""

from typing import TYPE_CHECKING

from modelmeter.report.grid import console_for, print_line, print_table
from modelmeter.report.profiles.build import ProfileReport
from modelmeter.report.profiles.notes import heading, notes
from modelmeter.report.profiles.tables import profile_tables

if TYPE_CHECKING:
    from rich.console import Console


def print_profile(report: ProfileReport, console: "Console | None" = None) -> None:
    """Print the tables and what they rest on."""
    console = console_for(console)
    print_line(console, heading(report), style="bold")
    for table in profile_tables(report):
        print_table(console, table)
    console.print("\nWhat the numbers rest on", style="bold")
    for line in notes(report):
        print_line(console, f"- {line}")
