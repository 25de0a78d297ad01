"""A static analysis as tables of text: stages, operators, parameters, modules; and a scaling."""

from collections.abc import Iterator, Sequence
from typing import Final

from modelmeter.live.analyser.data import ModuleNode, ModuleRun, StageRow, StaticAnalysis, Weights
from modelmeter.live.analyser.scaling import StaticScaling
from modelmeter.live.analyser.stages import MODULES
from modelmeter.live.reference.adapter import Quantity
from modelmeter.live.verification.compare import BOUNDED, Check
from modelmeter.live.verification.tables import NAMES, relative
from modelmeter.report import units
from modelmeter.report.grid import Table

_STAGE_QUANTITIES: Final[tuple[Quantity, ...]] = (
    "counted_flops", "weight_read_bytes", "kv_traffic_bytes", "kv_cache_bytes", "activation_bytes", "peak_bytes",
)  # fmt: skip
_HEADS: Final[dict[Quantity, str]] = {
    "counted_flops": "FLOPs",
    "weight_read_bytes": "weights\nread",
    "kv_traffic_bytes": "KV\nmoved",
    "kv_cache_bytes": "KV\ncache",
    "activation_bytes": "activ.\nmoved",
    "peak_bytes": "activ.\npeak",
}
_MOST_OPERATORS: Final = 6
"""Operators of a stage in a table: those with the most FLOPs or bytes. The files have all."""
_DEPTH: Final = 3
"""Of the module tree on a terminal: the parts, their layers, and what these are made of is in the files."""
_SUMS: Final = ("vision", "run")


def analysis_tables(analysis: StaticAnalysis, *, exact: bool = False) -> list[Table]:
    """Stages, operators by stage, parameters, and the module tree; with `exact` integers in full."""
    return [
        _stages(analysis.stages, exact),
        *[_operators(row, exact) for row in analysis.stages if row.name not in _SUMS],
        _parameters(analysis),
        _modules(analysis, exact),
    ]


def scaling_tables(scaling: StaticScaling, *, exact: bool = False) -> list[Table]:
    """Prefill and decode, a row a point."""
    tables = []
    for title, decode in (("Prefill", False), ("Decode, the sum of the steps", True)):
        rows: dict[tuple[str, ...], StageRow] = {}
        for point in scaling.points:
            name = (f"{point.length:,}", f"{point.batch_size:,}")
            rows[(*name, f"{point.decode_steps:,}") if decode else name] = point.decode if decode else point.prefill
        head = ("length", "batch", "steps")[: 2 + decode]
        tables.append(_table(title, head, list(rows), list(rows.values()), exact))
    return tables


def _stages(rows: Sequence[StageRow], exact: bool) -> Table:
    rules = frozenset(i for i, row in enumerate(rows) if row.name in ("vision", "decode"))
    return _table("Stages, recorded and by the twin", ("stage",), [(row.name,) for row in rows], rows, exact, rules)


def _table(
    title: str,
    head: tuple[str, ...],
    names: Sequence[tuple[str, ...]],
    rows: Sequence[StageRow],
    exact: bool,
    rules: frozenset[int] = frozenset(),
) -> Table:
    """Recorded numbers, each with what the twin has more or less."""
    found = [{check.quantity: check for check in row.checks} for row in rows]
    shown = [name for name in _STAGE_QUANTITIES if any(name in checks for checks in found)]
    columns = [column for name in shown for column in (_HEADS[name], "+-")]
    cells = [
        [cell for name in shown for cell in _cells(name, row, checks.get(name), exact)]
        for row, checks in zip(rows, found, strict=True)
    ]
    marked = frozenset(i for i, row in enumerate(rows) if not row.ok)
    if marked:
        columns.append("wrong")
        cells = [[*line, ", ".join(_wrong(row))] for line, row in zip(cells, rows, strict=True)]
    return Table(
        title=title,
        columns=(*head, *columns),
        rows=tuple((*name, *line) for name, line in zip(names, cells, strict=True)),
        text_columns=1,
        rules=rules,
        marked=marked,
    )


def _cells(name: Quantity, row: StageRow, check: Check | None, exact: bool) -> tuple[str, str]:
    if check is None:  # nothing to compare: what moved is still shown
        return (_number(name, row.recorded.activation_bytes, exact) if name == "activation_bytes" else ""), ""
    off = relative(check) if check.quantity in BOUNDED else f"{check.difference:+,}" if check.difference else "0"
    return _number(check.quantity, check.measured, exact), off


def _number(quantity: str, value: int, exact: bool) -> str:
    if exact:
        return f"{value:,}"
    return units.flops(value) if quantity.endswith("flops") else units.size(value)


def _wrong(row: StageRow) -> list[str]:
    wrong = [NAMES[check.quantity] for check in row.checks if not check.ok]
    return wrong or [f"FLOPs of {each.check.name}" for each in row.operators if not each.check.ok]


def _operators(row: StageRow, exact: bool) -> Table:
    """The operators with the most FLOPs, and those that move the most; the rest is one row."""
    by_bytes = sorted(row.operators, key=lambda each: -each.check.measured_bytes)
    most = [each for each in row.operators if each.check.measured_flops][:_MOST_OPERATORS]
    most += [each for each in by_bytes if each not in most][: _MOST_OPERATORS - len(most)]
    most += [each for each in row.operators if not each.check.ok and each not in most]
    shown = row.operators if exact else tuple(most)
    rows = [
        (each.check.name, each.category, f"{each.check.measured_calls:,}",
         _number("flops", each.check.measured_flops, exact), f"{100 * each.flops_share:.1f}%",
         _number("bytes", each.check.measured_bytes, exact), f"{100 * each.bytes_share:.1f}%")
        for each in shown
    ]  # fmt: skip
    rest = [each for each in row.operators if each not in shown]
    if rest:
        rows.append(
            (f"{len(rest)} others", "", f"{sum(each.check.measured_calls for each in rest):,}",
             _number("flops", sum(each.check.measured_flops for each in rest), exact),
             f"{100 * sum(each.flops_share for each in rest):.1f}%",
             _number("bytes", sum(each.check.measured_bytes for each in rest), exact),
             f"{100 * sum(each.bytes_share for each in rest):.1f}%")
        )  # fmt: skip
    columns = ("operator", "kind", "calls", "FLOPs", "share", "bytes", "share")
    marked = frozenset(i for i, each in enumerate(shown) if not each.check.ok)
    return Table(title=f"Operators of {row.name}", columns=columns, rows=tuple(rows), text_columns=2, marked=marked)


def _parameters(analysis: StaticAnalysis) -> Table:
    rows = [
        (stage, f"those of {found.shared_with}" if found.shared_with else ", ".join(MODULES[stage]), *_held([found]))
        for stage, found in analysis.weights.items()
    ]
    own = [found for found in analysis.weights.values() if not found.shared_with]
    return Table(
        title="Parameters",
        columns=("stage", "modules and parameters", "tensors", "parameters", "+-", "held"),
        rows=(*rows, ("all", "", *_held(own))),
        text_columns=2,
        rules=frozenset({len(rows) - 1}),
        marked=frozenset(i for i, found in enumerate(analysis.weights.values()) if not found.ok),
    )


def _held(found: Sequence[Weights]) -> tuple[str, str, str, str]:
    """Tensors, parameters, what the twin has more or less, bytes."""
    count, num_bytes = sum(each.count for each in found), sum(each.num_bytes for each in found)
    off = sum(each.analytic_count for each in found) - count
    return f"{sum(each.tensors for each in found):,}", f"{count:,}", f"{off:+,}" if off else "0", units.size(num_bytes)


def _modules(analysis: StaticAnalysis, exact: bool) -> Table:
    """The tree, a row a module and stage; equal members of a list are one. Not `exact`: its upper part."""
    rows: list[tuple[str, ...]] = []
    marked: set[int] = set()
    for depth, name, node in _walk(analysis.tree):
        if depth > _DEPTH and not exact:
            continue
        times = f" x {node.repeats}" if node.repeats > 1 else ""
        runs: list[tuple[str, ModuleRun | None]] = list(node.runs.items()) or [("", None)]
        for i, (stage, run) in enumerate(runs):
            label = (f"{'  ' * depth}{name}{times}", node.class_name) if i == 0 else ("", "")
            if run is not None and run.ok is False:
                marked.add(len(rows))
            rows.append((*label, stage, *_run_cells(run), f"{node.parameters:,}" if i == 0 else ""))
    return Table(
        title=f"Modules{'' if exact else ', the upper ones'}; shapes are the first call's, +1: there is another",
        columns=("module", "class", "stage", "in", "out", "calls", "FLOPs", "para-\nmeters"),
        rows=tuple(rows),
        text_columns=5,
        marked=frozenset(marked),
    )


def _walk(node: ModuleNode, depth: int = 0, around: str = "") -> Iterator[tuple[int, str, ModuleNode]]:
    """(depth, what its path adds to that around it, node)."""
    yield depth, node.path.removeprefix(f"{around}.") or "(the model)", node
    for child in node.children:
        yield from _walk(child, depth + 1, node.path)


def _run_cells(run: ModuleRun | None) -> tuple[str, str, str, str]:
    if run is None:
        return "", "", "", ""
    shapes = run.shapes[0][0] if run.shapes else None
    ends = ("", "") if shapes is None else (_first(shapes.inputs), _first(shapes.outputs))
    more = f" +{len(run.shapes) - 1}" if len(run.shapes) > 1 else ""
    return ends[0] + more, ends[1], f"{run.calls:,}", units.flops(run.recorded.counted_flops)


def _first(shapes: Sequence[tuple[str, tuple[int, ...]]]) -> str:
    return f"[{' '.join(map(str, shapes[0][1]))}]" if shapes else ""
