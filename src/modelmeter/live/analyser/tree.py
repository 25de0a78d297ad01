"""The module tree of the real model under the vendor's paths, equal siblings folded, with what ran in each stage."""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs
from torch import nn

from modelmeter.core.cost import Cost
from modelmeter.core.layer import Layer
from modelmeter.core.trace import Trace
from modelmeter.live.analyser.data import ModuleNode, ModuleRun, RunName, WeightInfo
from modelmeter.live.analyser.shapes import CallShapes
from modelmeter.live.recording.dtypes import dtype_of
from modelmeter.live.verification.compare import Folded, Row, fold
from modelmeter.live.verification.verify import Comparison

Runs: TypeAlias = dict[str, dict[RunName, ModuleRun]]
"""Path -> stage -> what ran there."""
Shapes: TypeAlias = Mapping[str, Mapping[CallShapes, int]]


def module_runs(
    measured: Trace, analytic: Trace, comparison: Comparison, shapes: Shapes, run_of: Callable[[str], RunName]
) -> Runs:
    """What each module did in one pass; `run_of` a path is the stage that it is listed under."""
    there, here = fold(measured), fold(analytic)
    rows = {path: row for row in comparison.rows for path in row.paths}
    return {
        path: {run_of(path): _run(real, here.get(path), rows.get(path), shapes.get(path, {}))}
        for path, real in there.items()
    }


def _run(real: Folded, twin: Folded | None, row: Row | None, shapes: Mapping[CallShapes, int]) -> ModuleRun:
    return ModuleRun(
        calls=sum(shapes.values()) or real.calls,
        shapes=tuple(shapes.items()),
        recorded=Cost.from_values(real.forward),
        recorded_peak=real.peak,
        analytic=None if twin is None else Cost.from_values(twin.forward),
        analytic_peak=None if twin is None or twin.calls != real.calls else twin.peak,
        ok=None if row is None else row.ok,
    )


def twin_classes(layer: Layer, path: str = "") -> dict[str, str]:
    """Path -> the class of the twin there; what has no name is part of the one around it."""
    found = {path: type(layer).__name__}
    for name, child in layer.named_children():
        below = twin_classes(child, f"{path}.{name}" if path and name else path or name)
        found = {**below, **found}
    return found


def module_tree(model: nn.Module, rename: Callable[[str], str], runs: Runs, twins: Mapping[str, str]) -> ModuleNode:
    """The tree of all modules of `model`, those that never run among them."""
    listed: dict[str, list[nn.Module]] = {}
    for name, module in model.named_modules():
        listed.setdefault(rename(name), []).append(module)
    below: dict[str, list[str]] = {}
    for path in listed:
        if path:
            below.setdefault(_around(path, listed), []).append(path)
    return _Builder(listed, below, runs, twins).node("")


def _around(path: str, listed: Mapping[str, object]) -> str:
    """The nearest path around it that has a module."""
    while path:
        path = path.rpartition(".")[0]
        if path in listed:
            return path
    return ""


@attrs.frozen
class _Builder:
    """Builds nodes: the modules listed under each path, the paths below it, what ran there, and the twin's classes."""

    listed: dict[str, list[nn.Module]]
    below: dict[str, list[str]]
    runs: Runs
    twins: Mapping[str, str]

    def node(self, path: str) -> ModuleNode:
        """The node of one module and all below it."""
        modules, children = self.listed[path], self._children(path)
        own = [parameter for module in modules for parameter in module.parameters(recurse=False)]
        return ModuleNode(
            path=path,
            paths=(path,),
            class_name=type(modules[0]).__name__,
            twin=self.twins.get(path),
            parameters=sum(x.numel() for x in own) + sum(child.repeats * child.parameters for child in children),
            weights=_weights(modules),
            runs=self.runs.get(path, {}),
            children=children,
        )

    def _children(self, path: str) -> tuple[ModuleNode, ...]:
        """Equal members of a list are one node at the first one's place."""
        groups: list[tuple[str, list[ModuleNode]]] = []
        for child in self.below.get(path, ()):
            node = self.node(child)
            if node.class_name == "ModuleList" and not node.children:
                continue  # its members are listed under the name that the vendor's list has
            origin, _, last = child.rpartition(".")
            origin = origin if last.isdigit() else child
            like = next((nodes for name, nodes in groups if name == origin and alike(nodes[0], node)), None)
            if like is None:
                groups.append((origin, [node]))
            else:
                like.append(node)
        return tuple(attrs.evolve(nodes[0], paths=tuple(x.path for x in nodes)) for _, nodes in groups)


def alike(a: ModuleNode, b: ModuleNode) -> bool:
    """Whether two modules are the same but for their paths: class, weights, shapes, costs, children."""
    if (a.class_name, a.twin, a.weights, a.runs) != (b.class_name, b.twin, b.weights, b.runs):
        return False
    if len(a.children) != len(b.children):
        return False
    pairs = list(zip(a.children, b.children, strict=True))
    same_names = all(x.path.removeprefix(a.path) == y.path.removeprefix(b.path) for x, y in pairs)
    return same_names and all(x.repeats == y.repeats and alike(x, y) for x, y in pairs)


def _weights(modules: Sequence[nn.Module]) -> dict[str, WeightInfo]:
    """Parameters of the modules themselves; those of equal ones are listed once, with their number."""
    found: dict[str, WeightInfo] = {}
    for module in modules:
        for name, x in module.named_parameters(recurse=False):
            before = found.get(name)
            copies = 1 if before is None else before.copies + 1
            found[name] = WeightInfo(shape=tuple(x.shape), dtype=dtype_of(x.dtype).name, copies=copies)
    return found
