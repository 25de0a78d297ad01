"""A static analysis on a terminal and as Markdown. Renderers take data and change none of it."""

from typing import TYPE_CHECKING

import attrs

from modelmeter.live.analyser.data import StaticAnalysis
from modelmeter.live.analyser.lines import (
    differences,
    left_out,
    notes,
    one_sided_operators,
    scaling_differences,
    unmatched_modules,
)
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.live.analyser.tables import analysis_tables, scaling_tables
from modelmeter.live.verification.compare import BOUNDED
from modelmeter.live.verification.tables import NAMES, relative
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

Result = StaticAnalysis | StaticScaling


def print_result(result: Result, console: "Console | None" = None) -> None:
    """Print an analysis or a scaling; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(result), style="bold")
    for table in _tables(result, exact=False):
        print_table(console, table)
    for title, lines in sections(result):
        console.print(f"\n{title}", style="bold")
        for line in lines:
            print_line(console, f"- {line}")
    console.print()
    print_line(console, verdict(result), style="bold green" if result.ok else "bold red")


def to_markdown(result: Result) -> str:
    """The same as Markdown, with integers in full and all operators."""
    lines = ["# Static analysis", "", f"{escape(heading(result))}.", ""]
    for table in _tables(result, exact=True):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    for title, items in sections(result):
        lines += [f"## {title}", "", *[f"- {escape(item)}" for item in items], ""]
    return "\n".join([*lines, f"**{escape(verdict(result))}**"]) + "\n"


def heading(result: Result) -> str:
    """One line: the real model, and what was run."""
    if isinstance(result, StaticScaling):
        done = f"{len(result.points)} of {result.grid.size} points of a grid, prompts of text alone"
        return f"{result.reference}, beside its analytic twin: {done}"
    point = result.point
    page = f"page {point.page}, {point.views.image_tokens} image tokens, " if point.views and point.page else ""
    batch = f", batch {point.batch_size}" if point.batch_size > 1 else ""
    steps = f"{point.decode_steps} decode step{'s' * (point.decode_steps > 1)} after {point.cached} tokens"
    return f"{result.reference}, beside its analytic twin: {page}context {point.context_len}{batch}, {steps}"


def sections(result: Result) -> list[tuple[str, list[str]]]:
    """(title, lines) of what stands below the tables; those without lines are left out."""
    if isinstance(result, StaticScaling):
        conventions = result.conventions
        found = [("Differences", list(scaling_differences(result)))]
    else:
        conventions = result.verification.conventions
        found = [
            ("Differences", list(differences(result))),
            ("Operators without a price", left_out(result)),
            ("Modules on one side only: not compared", unmatched_modules(result)),
            ("Operators on one side only", one_sided_operators(result)),
        ]
    chosen = " ".join(f"{name}={value}" for name, value in attrs.asdict(conventions).items())
    explained = [*notes(conventions), f"the twin: {chosen}"]
    return [(title, lines) for title, lines in [*found, ("Conventions", explained)] if lines]


def verdict(result: Result) -> str:
    """One line: equal, with the largest differences; or how many differences there are."""
    if isinstance(result, StaticScaling):
        rows = [row for point in result.points for row in (point.prefill, point.decode)]
        wrong = len(list(scaling_differences(result)))
    else:
        rows = list(result.stages)
        others = (differences(result), left_out(result), unmatched_modules(result))
        wrong = sum(len(list(lines)) for lines in others)
    if not result.ok:
        return f"NOT equal: {wrong} differences beyond the bounds, listed above"
    largest = []
    for quantity in BOUNDED:
        found = [(check, row.name) for row in rows for check in row.checks if check.quantity == quantity]
        if found:
            check, name = max(found, key=lambda each: abs(each[0].relative))
            largest.append(f"{NAMES[quantity]} {relative(check)}{f' ({name})' if check.difference else ''}")
    return f"every exact quantity is equal; largest differences: {', '.join(largest)}"


def _tables(result: Result, *, exact: bool) -> list[Table]:
    if isinstance(result, StaticScaling):
        return scaling_tables(result, exact=exact)
    return analysis_tables(result, exact=exact)
