"""The pages of `layers/`: one for each kind of layer, and an index."""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import attrs

from modelmeter.core.cost import StageCost
from modelmeter.report import units
from modelmeter.report.grid import Table, escape, markdown_table
from modelmeter.report.model_report.data import AnalyticModelReport, AnalyticModuleNode, ClosedFormula
from modelmeter.report.model_report.metrics import STAGE_NAMES, ModuleMetricsSnapshot
from modelmeter.report.model_report.render import kind_title, stage_row
from modelmeter.report.model_report.tree import alike
from modelmeter.report.tables import COST_COLUMNS, MEMORY_COLUMNS
from modelmeter.report.timing.tables import span_cells

INDEX = "index.md"
_EXACT: Final[tuple[tuple[str, Callable[[StageCost], Any]], ...]] = (
    ("tensor FLOPs", lambda stage: stage.cost.tensor_flops),
    ("CUDA FLOPs", lambda stage: stage.cost.cuda_flops),
    ("counted FLOPs", lambda stage: stage.cost.counted_flops),
    ("weight bytes read", lambda stage: stage.cost.weight_read_bytes),
    ("activation bytes read", lambda stage: stage.cost.activation_read_bytes),
    ("activation bytes written", lambda stage: stage.cost.activation_write_bytes),
    ("KV bytes read", lambda stage: stage.cost.kv_read_bytes),
    ("KV bytes written", lambda stage: stage.cost.kv_write_bytes),
    ("weight bytes held", lambda stage: stage.weights_bytes),
    ("activation bytes at the peak", lambda stage: stage.activations_bytes),
    ("KV cache bytes held", lambda stage: stage.kv_cache_bytes),
)


@attrs.frozen(kw_only=True)
class LayerKind:
    """Modules of one class with equal weights and equal costs: `places` are (how often in the model, node)."""

    places: tuple[tuple[int, AnalyticModuleNode], ...]

    @property
    def node(self) -> AnalyticModuleNode:
        """The first of them."""
        return self.places[0][1]

    @property
    def times(self) -> int:
        """How often it stands in the model."""
        return sum(times for times, _ in self.places)

    @property
    def file(self) -> str:
        """Its page's name."""
        return f"{re.sub(r'[^A-Za-z0-9_.]', '_', self.node.path) or 'whole-model'}.md"  # "model" is a path, too


def layer_kinds(tree: AnalyticModuleNode) -> list[LayerKind]:
    """The kinds of layers of a tree, in the order of their first."""
    kinds: list[list[tuple[int, AnalyticModuleNode]]] = []
    for times, node in tree.walk():
        for kind in kinds:
            first = kind[0][1]
            if (first.class_name, first.weights) == (node.class_name, node.weights) and alike(first, node):
                kind.append((times, node))
                break
        else:
            kinds.append([(times, node)])
    return [LayerKind(places=tuple(places)) for places in kinds]


def layer_pages(report: AnalyticModelReport) -> dict[str, str]:
    """The pages by file name. They show the kind of page that most pages are of (the first of equals)."""
    number = max(range(len(report.kinds)), key=lambda place: report.kinds[place].pages) + 1
    kinds = layer_kinds(report.kinds[number - 1].tree)
    of = f"{kind_title(report, number)}, context {report.kinds[number - 1].context_len}"
    formulas: dict[str, list[ClosedFormula]] = {}
    for formula in report.layer_formulas:
        formulas.setdefault(formula.layer or "", []).append(formula)
    pages = {INDEX: _index(report, kinds, of)}
    for kind in kinds:
        pages[kind.file] = "\n".join(_page(kind, formulas.get(kind.node.path, []), of, report)) + "\n"
    return pages


def _index(report: AnalyticModelReport, kinds: list[LayerKind], of: str) -> str:
    lines = [f"# Layers of {escape(report.model.name)}", "", f"{escape(of)}. One page for each kind of layer.", ""]
    for stage in STAGE_NAMES:
        ran = [(kind, kind.node.snapshots[stage]) for kind in kinds if stage in kind.node.snapshots]
        rows = [_index_row(kind, snapshot) for kind, snapshot in ran]
        columns = ("layer", "class", "times", *COST_COLUMNS, *MEMORY_COLUMNS, "time")
        title = f"{stage}: each of them once" + (", one token" if stage == "decode" else "")
        table = Table(title=title, columns=columns, rows=tuple(rows), text_columns=2)
        lines += [f"## {title}", "", *_linked(markdown_table(table), kinds), ""]
    idle = [kind for kind in kinds if not kind.node.snapshots]
    if idle:
        lines += ["## Held and not run", "", *[f"- {_link(kind)}: {kind.node.class_name}" for kind in idle], ""]
    return "\n".join(lines)


def _index_row(kind: LayerKind, snapshot: ModuleMetricsSnapshot) -> tuple[str, ...]:
    name, *numbers = stage_row(_label(kind), snapshot.cost)
    time = "" if snapshot.time is None else units.seconds(float(snapshot.time.predicted.seconds))
    return (name, kind.node.class_name, str(kind.times), *numbers, time)


def _linked(lines: list[str], kinds: list[LayerKind]) -> list[str]:
    """The rows of a table with the names of layers made links."""
    links = {f"| {escape(_label(kind))} |": f"| {_link(kind)} |" for kind in kinds}
    found = []
    for line in lines:
        first = line[: line.index(" |", 1) + 2]
        found.append(links.get(first, first) + line[len(first) :])
    return found


def _label(kind: LayerKind) -> str:
    more = len(kind.places) - 1
    return (kind.node.path or "(model)") + (f" and {more} more" if more else "")


def _link(kind: LayerKind) -> str:
    return f"[{escape(_label(kind))}]({kind.file})"


def _page(kind: LayerKind, formulas: list[ClosedFormula], of: str, report: AnalyticModelReport) -> Iterator[str]:
    node = kind.node
    yield from (f"# {node.class_name}: {escape(_label(kind))}", "", escape(node.about), "")
    yield from (f"{escape(of)}. [All layers](index.md)", "", "## Where it stands", "")
    yield from markdown_table(_places(kind))
    yield ""
    if node.weights:
        yield from ("## Its own weights", "", *markdown_table(_weights(node)), "")
    among = "its children's among them" if node.children else "all its own"
    held = f"{units.size(node.weights_bytes)} ({node.weights_bytes:,} bytes)"
    yield from (f"{node.parameters:,} parameters, {held}, {among}.", "")
    if node.snapshots:
        yield from ("## Cost of one, in each stage", "", *markdown_table(_stages(node)), "")
        yield from ("Exactly:", "", *markdown_table(_exact(node)), "")
    if report.device is not None and node.snapshots:
        yield from (f"## Time of one on {escape(report.device.title)}, {report.device.level}", "")
        yield from (*markdown_table(_times(node)), "")
    for stage, snapshot in node.snapshots.items():
        if snapshot.operators:
            yield from (f"## Operators of its own, {stage}", "", *markdown_table(_operators(snapshot)), "")
    yield from _formulas(formulas)


def _places(kind: LayerKind) -> Table:
    rows = tuple((_pattern(node), _child_names(node), str(times)) for times, node in kind.places)
    return Table(title="", columns=("module", "children", "times in the model"), rows=rows, text_columns=2)


def _pattern(node: AnalyticModuleNode) -> str:
    """The path, and of modules of a list all their numbers: "model.layers.1 to 11"."""
    if node.repeats == 1:
        return node.path or "(model)"
    return f"{node.path}, " + ", ".join(path.rpartition(".")[2] for path in node.paths[1:])


def _child_names(node: AnalyticModuleNode) -> str:
    names = [child.name if child.repeats == 1 else f"{child.repeats} x {child.class_name}" for child in node.children]
    return ", ".join(names)


def _weights(node: AnalyticModuleNode) -> Table:
    rows = [(name, _shape(info.shape), info.dtype, f"{info.num_bytes:,}") for name, info in node.weights.items()]
    return Table(title="", columns=("weight", "shape", "type", "bytes"), rows=tuple(rows), text_columns=3)


def _stages(node: AnalyticModuleNode) -> Table:
    rows = [(*stage_row(stage, snapshot.cost), str(snapshot.calls)) for stage, snapshot in node.snapshots.items()]
    return Table(title="", columns=("stage", *COST_COLUMNS, *MEMORY_COLUMNS, "calls"), rows=tuple(rows))


def _exact(node: AnalyticModuleNode) -> Table:
    stages: dict[str, StageCost] = {name: snapshot.cost for name, snapshot in node.snapshots.items()}
    rows = [(name, *[f"{of(stage):,}" for stage in stages.values()]) for name, of in _EXACT]
    return Table(title="", columns=("quantity", *stages), rows=tuple(rows))


def _times(node: AnalyticModuleNode) -> Table:
    rows = []
    for stage, snapshot in node.snapshots.items():
        if snapshot.time is not None:
            time = snapshot.time
            measured = "" if time.measured_seconds is None else units.seconds(time.measured_seconds)
            ratio = "" if time.ratio is None else units.ratio(time.ratio)
            rows.append((stage, *span_cells(time.predicted), measured, ratio))
    columns = ("stage", "predicted", "tensor", "vector", "memory", "launch", "binds", "measured", "ratio")
    return Table(title="", columns=columns, rows=tuple(rows))


def _operators(snapshot: ModuleMetricsSnapshot) -> Table:
    rows = []
    for operator in snapshot.operators:
        cost = operator.cost
        numbers = (units.flops(cost.flops), *map(units.size, (cost.weight_bytes, cost.activation_bytes, cost.kv_bytes)))
        time = "" if operator.time is None else units.seconds(float(operator.time.predicted.seconds))
        shapes = "; ".join(_shape(shape) for shape in operator.shapes)
        rows.append(
            (operator.name, operator.category.value, operator.dtype, shapes, str(operator.calls), *numbers, time)
        )
    columns = (
        "operator",
        "category",
        "type",
        "output shapes",
        "calls",
        "FLOPs",
        "weights",
        "activations",
        "KV",
        "time",
    )
    return Table(title="", columns=columns, rows=tuple(rows), text_columns=4)


def _shape(shape: tuple[int, ...]) -> str:
    return "[" + " ".join(map(str, shape)) + "]"


def _formulas(formulas: list[ClosedFormula]) -> Iterator[str]:
    if not formulas:
        return
    yield from ("## Closed formulas, whatever the views", "")
    for formula in formulas:
        yield f"- {formula.quantity}({formula.stage}) = `{formula.expression}`"
    yield ""
    symbols = {name: meaning for formula in formulas for name, meaning in formula.symbols.items()}
    yield from (f"- {name}: {meaning}" for name, meaning in symbols.items())
    yield from (f"- {limit}" for limit in dict.fromkeys(limit for formula in formulas for limit in formula.limits))
    yield ""
