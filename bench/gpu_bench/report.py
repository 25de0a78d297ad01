"""Prints a result."""

from typing import Any

from gpu_bench.tables import heading, left_out, tables
from modelmeter.report.grid import console_for, print_line, print_table


def show(found: dict[str, Any]) -> None:
    """All tables of a result, and what is not in them."""
    console = console_for()
    print_line(console, heading(found), style="bold")
    if found["driver"]:
        print_line(console, "; ".join(f"{name} {value}" for name, value in found["driver"].items()))
    for table in tables(found):
        print_table(console, table)
    for line in left_out(found):
        print_line(console, line)
