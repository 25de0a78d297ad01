"""A `Comparison` on a terminal and as Markdown. Renderers take data and change none of it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from modelmeter.report.compare.compare import Comparison, Difference, Lone
from modelmeter.report.compare.words import change, label, percent, share, value_text, values
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

DEFAULT_TOP = 20


def print_comparison(found: Comparison, top: int = DEFAULT_TOP, console: "Console | None" = None) -> None:
    """Print the comparison, `top` rows of each table (0: all); plain text where the output is not a terminal."""
    console = console_for(console)
    for line in heading(found):
        print_line(console, line, style="bold")
    for table in comparison_tables(found, top):
        print_table(console, table)
    console.print()
    for line in summary(found):
        print_line(console, line)


def to_markdown(found: Comparison, top: int = DEFAULT_TOP) -> str:
    """The same as Markdown."""
    about = [f"- {escape(line)}" for line in (*heading(found), *summary(found))]
    lines = ["# Two results side by side", "", *about, ""]
    for table in comparison_tables(found, top):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    return "\n".join(lines).rstrip() + "\n"


def heading(found: Comparison) -> list[str]:
    """The two files, and what of them differs that was allowed to."""
    lines = [
        f"{letter}: {side.name} ({side.title}, analytic model {side.analytic_model_version})"
        for letter, side in (("A", found.a), ("B", found.b))
    ]
    if found.a.analytic_model_version != found.b.analytic_model_version:
        versions = f"{found.a.analytic_model_version} and {found.b.analytic_model_version}"
        lines.append(f"their analytic models differ ({versions}): the changelog says what moved between them")
    if found.a.schema != found.b.schema:
        lines.append(f"their schemas differ: {found.a.schema} and {found.b.schema}")
    return lines


def summary(found: Comparison) -> list[str]:
    """How much was compared, how much differs, and what the threshold says."""
    if not found.compared:
        lines = ["nothing to compare: no row of one is a row of the other"]
    else:
        lines = [f"{_values(found.compared)} in both: {found.equal:,} equal, {found.compared - found.equal:,} differ"]
    if found.threshold is None:
        return lines
    above = f"above the threshold of {share(found.threshold)}"
    if not found.exceeding:
        return [*lines, f"{above}: nothing"]
    lone = found.only_a or found.only_b
    return [*lines, f"{above}: {found.exceeding:,}{', ' + _lone_words(found) if lone else ''}"]


def _lone_words(found: Comparison) -> str:
    counted = "left out" if "rows" in found.allowed else "included"
    return f"what is in one file alone {counted}"


def comparison_tables(found: Comparison, top: int = DEFAULT_TOP) -> list[Table]:
    """Settings, numbers, what is no number, and what one file alone has; none of them empty."""
    numbers = [(*_of(each), *values(each), change(each.absolute), percent(each.relative)) for each in found.numbers]
    others = [(*_of(each), *values(each)) for each in (*found.states, *found.words)]
    settings = [(each.name, value_text(each.a), value_text(each.b)) for each in found.settings]
    tables = [
        _table("Settings that differ", ("setting", "A", "B"), settings, 0, 3),
        _table(
            "Numbers that differ, by relative difference",
            ("row", "quantity", "A", "B", "B - A", "(B - A) / A"),
            numbers,
            top,
            2,
        ),
        _table("Other values that differ", ("row", "quantity", "A", "B"), others, top, 4),
        _table("Only in A", ("row", "quantity", "values"), _lone(found.only_a), top, 2),
        _table("Only in B", ("row", "quantity", "values"), _lone(found.only_b), top, 2),
    ]
    return [table for table in tables if table.rows]


def _table(title: str, columns: tuple[str, ...], rows: Sequence[tuple[str, ...]], top: int, words: int) -> Table:
    shown = rows[:top] if top else rows
    cut = f" (the first {len(shown)} of {len(rows):,})" if len(shown) < len(rows) else ""
    return Table(title=title + cut, columns=columns, rows=tuple(shown), text_columns=words)


def _of(each: Difference) -> tuple[str, str]:
    return label(each.key), each.quantity


def _lone(found: tuple[Lone, ...]) -> list[tuple[str, ...]]:
    return [(label(each.key), each.quantity or "", f"{each.values:,}") for each in found]


def _values(count: int) -> str:
    return "1 value" if count == 1 else f"{count:,} values"
