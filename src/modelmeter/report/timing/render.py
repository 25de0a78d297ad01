"""Times on a terminal."""

from typing import TYPE_CHECKING

from modelmeter.report.grid import console_for, print_line, print_table
from modelmeter.report.timing.notes import heading, notes
from modelmeter.report.timing.tables import timing_tables
from modelmeter.report.timing.timing import Timing

if TYPE_CHECKING:
    from rich.console import Console


def print_timing(timing: Timing, console: "Console | None" = None) -> None:
    """Print the tables and what they rest on."""
    console = console_for(console)
    print_line(console, heading(timing), style="bold")
    for table in timing_tables(timing):
        print_table(console, table)
    console.print("\nWhat the times rest on", style="bold")
    for line in notes(timing):
        print_line(console, f"- {line}")
