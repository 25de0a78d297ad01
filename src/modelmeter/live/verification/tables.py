"""A report of a verification as tables of text: stages, layers, and the experts that a real run reached."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from modelmeter.live.reference.adapter import Quantity
from modelmeter.live.verification.compare import BOUNDED, Check, Row
from modelmeter.live.verification.points import describe
from modelmeter.live.verification.selection import Report, Shown
from modelmeter.report import units
from modelmeter.report.grid import Table

Layout: TypeAlias = Literal["wide", "stacked", "exact"]
"""Rounded numbers side by side; two lines a row, for narrow terminals; or integers in full and whole paths."""
NAMES: Final[dict[Quantity, str]] = {
    "counted_flops": "counted FLOPs",
    "backward_flops": "backward FLOPs",
    "parameters": "parameters",
    "parameter_bytes": "parameter bytes",
    "kv_cache_bytes": "KV cache",
    "kv_traffic_bytes": "KV moved",
    "weight_read_bytes": "weights read",
    "activation_bytes": "activations moved",
    "peak_bytes": "peak memory",
    "saved_bytes": "saved for backward",
}
"""Quantities as people read them."""

_HEADS: Final[dict[Quantity, str]] = {
    "parameters": "para-\nmeters",
    "kv_cache_bytes": "KV\ncache",
    "kv_traffic_bytes": "KV\nmoved",
    "weight_read_bytes": "weights\nread",
    "activation_bytes": "activ.\nmoved",
    "peak_bytes": "activ.\npeak",
    "saved_bytes": "saved\nactiv.",
}
_FLOPS: Final[dict[Quantity, str]] = {"counted_flops": "FLOPs", "backward_flops": "backward"}
_MINOR: Final = ("parameter_bytes", "kv_traffic_bytes")
"""Shown only in full, or where they differ."""
_MOST_NAMES: Final = 3
_HELD: Final = ("parameters", "parameter_bytes", "kv_cache_bytes", "peak_bytes")
"""Not added up over stages: the largest counts."""


def stage_table(report: Report, layout: Layout = "wide") -> Table | None:
    """A row a stage, and their total (a page is vision and prefill again); None where only layers are reported."""
    shown = [each for each in report.comparisons if each.total is not None]
    totals = [(describe(each.point), each.total) for each in shown if each.total is not None]
    if not totals:
        return None
    rules = frozenset[int]()
    stages = {each.point.stage for each in shown}
    twice = {"page"} if stages > {"page"} else set()
    summed = [each.total for each in shown if each.total is not None and each.point.stage not in twice]
    if len(summed) > 1:
        rules = frozenset({len(totals) - 1})
        totals.append(("all but page" if twice & stages else "all", _total(summed)))
    names, rows = [(name,) for name, _ in totals], [row for _, row in totals]
    return _table("Stages", ("stage",), names, rows, layout, rules)


def layer_tables(report: Report, layout: Layout = "wide") -> list[Table]:
    """The layers, one table for each stage; rows that an earlier stage has too are in its table only."""
    where: dict[Row, list[Shown]] = {}
    for comparison in report.comparisons:
        for row in comparison.layers:
            where.setdefault(row, []).append(comparison)
    tables = []
    for comparison in report.comparisons:
        rows = _as_tree([row for row in comparison.layers if where[row][0] is comparison])
        if rows:
            names = [_name(row, path, layout) for row, path in zip(rows, _paths(rows, layout), strict=True)]
            head = (
                ("module, the first\nclass x how many",) if layout == "stacked" else ("module, the first", "class", "x")
            )
            tables.append(_table(_title(comparison, rows, where), head, names, rows, layout))
    return tables


def _title(comparison: Shown, rows: Sequence[Row], where: Mapping[Row, Sequence[Shown]]) -> str:
    """The stage, and which later stages have how many of these rows too."""
    others: dict[str, int] = {}
    for row in rows:
        for other in where[row][1:]:
            others[describe(other.point)] = others.get(describe(other.point), 0) + 1
    title = f"Layers: {describe(comparison.point)}"
    if len(rows) < len(comparison.layers):
        title += ", those that are new"
    shared: dict[int, list[str]] = {}
    for name, count in others.items():
        shared.setdefault(count, []).append(name)
    for count, names in shared.items():
        place = ", ".join(names) if len(names) <= _MOST_NAMES else f"{len(names)} other stages"
        title += f"; {'all' if count == len(rows) else f'{count} of {len(rows)}'} the same in {place}"
    return title


def _name(row: Row, path: str, layout: Layout) -> tuple[str, ...]:
    if layout != "stacked":
        return path, row.layer, str(row.times)
    indent = " " * (len(path) - len(path.lstrip()))
    return (f"{path}\n{indent}{row.layer} x {row.times}",)


def routing_table(report: Report) -> Table | None:
    """Experts that were reached, beside the number that uniform routing would reach; None without a real run."""
    routed = [(describe(each.point), each.routing) for each in report.comparisons if each.routing is not None]
    rows = tuple(
        (name, ", ".join(map(str, found.hit)), f"{sum(found.hit) / len(found.hit):.1f}", f"{found.expected:.1f}",
         str(found.num_experts))
        for name, found in routed
        if found.hit
    )  # fmt: skip
    columns = ("stage", "experts reached, layer by layer", "mean", "expected,\nuniform", "of")
    return Table(title="Experts", columns=columns, rows=rows, text_columns=2) if rows else None


def cross_check_table(report: Report) -> Table | None:
    """Multiply-adds by fvcore and ours, and why they differ; None without a cross-check."""
    rows = tuple(
        (each.part, each.attention, each.operator,
         each.why if each.ok else f"NOT explained: expected {each.expected:,}",
         f"{each.fvcore:,}", f"{each.ours:,}", f"{each.difference:,}")
        for each in report.cross_checks
    )  # fmt: skip
    columns = ("part", "attention", "operator", "why", "fvcore", "ours", "difference")
    marked = frozenset(i for i, each in enumerate(report.cross_checks) if not each.ok)
    title = "Multiply-adds by fvcore's counter"
    return Table(title=title, columns=columns, rows=rows, text_columns=4, marked=marked) if rows else None


def failing(row: Row) -> list[str]:
    """What is wrong in a row: quantities, and operators whose FLOPs differ."""
    wrong = [NAMES[check.quantity] for check in row.checks if not check.ok]
    return wrong or [f"FLOPs of {operator.name}" for operator in row.operators if not operator.ok]


def relative(check: Check) -> str:
    """The difference as a part of what was measured: "+0.24%"; "0" where there is none."""
    if not check.difference:
        return "0"
    if not check.measured:
        return f"{check.difference:+,}"
    percent = 100 * check.relative
    return f"{percent:+.0f}%" if abs(percent) >= 9.95 else f"{percent:+.2g}%"


def _as_tree(rows: Sequence[Row]) -> list[Row]:
    """The rows, each after the module that it is in."""
    listed = {row.path: row for row in rows}
    below: dict[str, list[Row]] = {}
    for row in rows:
        below.setdefault(next((path for path in _around(row.path) if path in listed), ""), []).append(row)

    def walk(path: str) -> Iterator[Row]:
        for row in below.get(path, ()):
            yield row
            yield from walk(row.path)

    return list(walk(""))


def _paths(rows: Sequence[Row], layout: Layout) -> list[str]:
    """Paths, or short: below a module that is listed too, what is added to its path, set in."""
    if layout == "exact":
        return [row.path for row in rows]
    listed = {row.path for row in rows}
    found = []
    for row in rows:
        above = [path for path in _around(row.path) if path in listed]
        rest = row.path.removeprefix(f"{above[0]}.") if above else row.path
        found.append("  " * len(above) + rest)
    return found


def _around(path: str) -> Iterable[str]:
    while "." in path:
        path = path.rpartition(".")[0]
        yield path


def _total(rows: Sequence[Row]) -> Row:
    checks = []
    for quantity in dict.fromkeys(check.quantity for row in rows for check in row.checks):
        found = [check for row in rows for check in row.checks if check.quantity == quantity]
        fold = max if quantity in _HELD else sum
        measured, analytic = fold(x.measured for x in found), fold(x.analytic for x in found)
        checks.append(Check(quantity, measured, analytic, max(check.bound for check in found)))
    return Row(("",), "", tuple(checks), ())


def _table(
    title: str,
    head: tuple[str, ...],
    names: Sequence[tuple[str, ...]],
    rows: Sequence[Row],
    layout: Layout,
    rules: frozenset[int] = frozenset(),
) -> Table:
    quantities = [quantity for quantity in NAMES if _is_shown(quantity, rows, layout)]
    columns = [column for quantity in quantities for column in _columns(quantity, layout)]
    cells = [[cell for quantity in quantities for cell in _cells(quantity, row, layout)] for row in rows]
    marked = frozenset(i for i, row in enumerate(rows) if not row.ok)
    if marked:
        columns.append("wrong")
        separator = "\n" if layout == "stacked" else ", "
        cells = [[*line, separator.join(failing(row))] for line, row in zip(cells, rows, strict=True)]
    return Table(
        title=title,
        columns=(*head, *columns),
        rows=tuple((*name, *line) for name, line in zip(names, cells, strict=True)),
        text_columns=len(head),
        rules=rules,
        marked=marked,
    )


def _is_shown(quantity: Quantity, rows: Sequence[Row], layout: Layout) -> bool:
    checks = [check for row in rows for check in row.checks if check.quantity == quantity]
    if quantity in _MINOR and layout != "exact":
        return any(not check.ok for check in checks)
    return any(check.measured or check.analytic for check in checks)


def _columns(quantity: Quantity, layout: Layout) -> tuple[str, ...]:
    if quantity in _FLOPS:
        head = f"{_FLOPS[quantity]},\n"
        return (
            (f"{head}real\ntwin", "differ-\nence")
            if layout == "stacked"
            else (f"{head}real", f"{head}twin", "differ-\nence")
        )
    head = _HEADS.get(quantity, NAMES[quantity])
    if quantity not in BOUNDED:
        return (head,)
    return (f"{head}\n+-",) if layout == "stacked" else (head, "+-")


def _cells(quantity: Quantity, row: Row, layout: Layout) -> tuple[str, ...]:
    check = next((check for check in row.checks if check.quantity == quantity), None)
    if check is None:
        return ("",) * len(_columns(quantity, layout))
    value = _number(quantity, check.measured, layout)
    if quantity in _FLOPS:
        twin = _number(quantity, check.analytic, layout)
        return (f"{value}\n{twin}", _signed(check)) if layout == "stacked" else (value, twin, _signed(check))
    if quantity in BOUNDED:
        return (f"{value}\n{relative(check)}",) if layout == "stacked" else (value, relative(check))
    return (f"{value} {_signed(check)}" if check.difference else value,)


def _number(quantity: Quantity, value: int, layout: Layout) -> str:
    if layout == "exact":
        return f"{value:,}"
    return units.size(value) if quantity.endswith("_bytes") else units.flops(value)


def _signed(check: Check) -> str:
    return f"{check.difference:+,}" if check.difference else "0"
