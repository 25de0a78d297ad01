"""A report of a verification on a terminal and as Markdown. Renderers take data and change none of it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import attrs

from modelmeter.live.reference.adapter import Quantity
from modelmeter.live.verification.compare import BOUNDED, Check, Row
from modelmeter.live.verification.points import describe
from modelmeter.live.verification.selection import Report, Shown
from modelmeter.live.verification.tables import (
    NAMES,
    Layout,
    cross_check_table,
    failing,
    layer_tables,
    relative,
    routing_table,
    stage_table,
)
from modelmeter.report.grid import Table, console_for, escape, markdown_table, print_line, print_table

if TYPE_CHECKING:
    from rich.console import Console

_WIDE = 150  # columns that a row of numbers side by side takes
_ALWAYS: Final = (
    "counted_flops",
    "parameters",
    "kv_cache_bytes",
    "weight_read_bytes",
    "activation_bytes",
    "peak_bytes",
)
_MOST_PLACES = 6  # in the last line; the list of differences above it has all


def print_report(report: Report, console: "Console | None" = None) -> None:
    """Print the report; plain text without colour where the output is not a terminal."""
    console = console_for(console)
    print_line(console, heading(report), style="bold")
    for table in _tables(report, "stacked" if console.width < _WIDE else "wide"):
        print_table(console, table)
    for title, lines in sections(report):
        console.print(f"\n{title}", style="bold")
        for line in lines:
            print_line(console, f"- {line}")
    console.print()
    print_line(console, verdict(report), style="bold green" if report.ok else "bold red")


def to_markdown(report: Report) -> str:
    """The same as Markdown, with integers in full."""
    lines = ["# The real model and its analytic twin", "", f"{heading(report)}.", ""]
    for table in _tables(report, "exact"):
        lines += [f"## {escape(table.title)}", "", *markdown_table(table), ""]
    for title, items in sections(report):
        lines += [f"## {title}", "", *[f"- {escape(item)}" for item in items], ""]
    return "\n".join([*lines, f"**{escape(verdict(report))}**"]) + "\n"


def heading(report: Report) -> str:
    """One line: what was verified against what."""
    return f"{report.reference}, beside its analytic twin"


def sections(report: Report) -> list[tuple[str, list[str]]]:
    """(title, lines) of what stands below the tables; those without lines are left out."""
    found = [
        ("Differences", list(differences(report))),
        ("Operators without a price", list(unpriced(report))),
        ("Modules on one side only: not compared", list(unmatched(report))),
        ("Operators on one side only", list(one_sided(report))),
        ("Conventions", notes(report)),
    ]
    return [(title, lines) for title, lines in found if lines]


def differences(report: Report) -> Iterator[str]:
    """A line for every quantity or operator that differs more than it may."""
    for comparison in report.comparisons:
        for row in comparison.rows:
            where = f"{describe(comparison.point)}, {_name(row)}"
            for check in row.checks:
                if not check.ok:
                    yield f"{where}: {NAMES[check.quantity]}: {_sides(check)}"
            for operator in row.operators:
                if not operator.ok:
                    flops = operator.measured_flops, operator.analytic_flops
                    back = operator.measured_backward_flops, operator.analytic_backward_flops
                    real, twin = flops if flops[0] != flops[1] else back
                    yield f"{where}: FLOPs of {operator.name}: real {real:,}, twin {twin:,} ({twin - real:+,})"


def unpriced(report: Report) -> Iterator[str]:
    """A line for every operator that nobody prices."""
    for comparison in report.comparisons:
        for found in comparison.unpriced:
            yield f"{describe(comparison.point)}, {found.path or 'the whole'}: {found.name}, {found.calls} calls"


def unmatched(report: Report) -> Iterator[str]:
    """A line for every module that one side alone calls."""
    for comparison in report.comparisons:
        for path in comparison.unmatched:
            yield f"{describe(comparison.point)}, {path}"


def one_sided(report: Report) -> Iterator[str]:
    """Names of operators that only one side ran, stages with the same names together. They count no FLOPs."""
    groups: dict[tuple[str, str], list[str]] = {}
    for comparison in report.comparisons:
        real = {name for row in comparison.rows for name in row.only_measured}
        twin = {name for row in comparison.rows for name in row.only_analytic}
        for side, found in (("real model", real), ("twin", twin)):
            if found:
                groups.setdefault((side, ", ".join(sorted(found))), []).append(describe(comparison.point))
    for (side, names), where in groups.items():
        yield f"only in the {side}: {names} ({'; '.join(where)})"


def notes(report: Report) -> list[str]:
    """What is equal, what is bounded by how much, and how the twin was run."""
    found: dict[Quantity, dict[float, dict[str, None]]] = {}
    for comparison in report.comparisons:
        for row in comparison.rows:
            for check in row.checks:
                places = found.setdefault(check.quantity, {}).setdefault(check.bound, {})
                places.setdefault("a layer" if row.path else comparison.point.stage)
    exact = [name for quantity, name in NAMES.items() if quantity in found and quantity not in BOUNDED]
    lines = [f"equal as integers: {', '.join(exact)}"] if exact else []
    for quantity in BOUNDED:
        bounds = [f"{100 * bound:g}% ({', '.join(places)})" for bound, places in found.get(quantity, {}).items()]
        if bounds:
            lines.append(f"{NAMES[quantity]}: off by at most {', '.join(bounds)}")
    missing = [NAMES[quantity] for quantity in _ALWAYS if found and quantity not in found]
    if "saved_bytes" in found and NAMES["peak_bytes"] in missing:
        missing.remove(NAMES["peak_bytes"])  # with a backward pass, what is kept for it is compared instead
    if missing:
        lines.append(f"not compared, as the twin has no counterpart: {', '.join(missing)}")
    chosen = " ".join(f"{name}={value}" for name, value in attrs.asdict(report.conventions).items())
    return [
        *lines,
        "columns show the real model's numbers, +- what the twin has more or less; FLOPs and bytes are of all calls of "
        "one module, peaks of its largest call",
        f"the twin: {chosen}",
    ]


def verdict(report: Report) -> str:
    """One line: verified, with the largest differences; or NOT verified, with what failed and where."""
    rows = [row for comparison in report.comparisons for row in comparison.rows]
    if report.ok:
        stages, layers = sum(not row.path for row in rows), sum(row.times for row in rows if row.path)
        what = [
            f"{count} {name}{'s' * (count != 1)}" for count, name in ((stages, "stage"), (layers, "module")) if count
        ]
        return f"verified: {', '.join(what)}; {_largest(report)}"
    places = list(dict.fromkeys(place for comparison in report.comparisons for place in _origins(comparison)))
    places += [f"{each.operator} of {each.part} by fvcore" for each in report.cross_checks if not each.ok]
    more = f" and {len(places) - _MOST_PLACES} more" if len(places) > _MOST_PLACES else ""
    return f"NOT verified: {'; '.join(places[:_MOST_PLACES])}{more}"


def _origins(comparison: Shown) -> Iterator[str]:
    """What failed where: a quantity in the innermost module that has it wrong, and in the whole if no module does."""
    wrong = [row for row in comparison.rows if not row.ok]
    for row in wrong:
        prefix = f"{row.path}." if row.path else ""
        inside = [other for other in wrong if other is not row and any(path.startswith(prefix) for path in other.paths)]
        there = {name for other in inside for name in failing(other)}
        own = [name for name in failing(row) if name not in there]
        if own:
            yield f"{', '.join(own)} of {_name(row)} ({comparison.point.stage})"
    if comparison.unmatched:
        number = len(comparison.unmatched)
        yield f"{number} modules on one side only, such as {comparison.unmatched[0]} ({comparison.point.stage})"
    for found in comparison.unpriced:
        yield f"{found.name} has no price in {found.path or 'the whole'} ({comparison.point.stage})"


def _largest(report: Report) -> str:
    """The largest relative difference of each bounded quantity, and where."""
    parts = []
    for quantity in BOUNDED:
        found = [
            (check, row, comparison.point.stage)
            for comparison in report.comparisons
            for row in comparison.rows
            for check in row.checks
            if check.quantity == quantity
        ]
        if found:
            check, row, stage = max(found, key=lambda item: abs(item[0].relative))
            where = f" ({_name(row)}, {stage})" if check.difference else ""
            parts.append(f"{NAMES[quantity]} {relative(check)}{where}")
    return (
        f"every exact quantity is equal; largest differences: {', '.join(parts)}"
        if parts
        else "what was compared is equal"
    )


def _name(row: Row) -> str:
    return f"{row.layer} {row.path}" if row.path else "the whole"


def _sides(check: Check) -> str:
    bound = f", {100 * check.relative:+.3g}%, allowed {100 * check.bound:g}%" if check.bound and check.measured else ""
    return f"real {check.measured:,}, twin {check.analytic:,} ({check.difference:+,}{bound})"


def _tables(report: Report, layout: Layout) -> list[Table]:
    found = [
        stage_table(report, layout),
        *layer_tables(report, layout),
        routing_table(report),
        cross_check_table(report),
    ]
    return [table for table in found if table is not None]
