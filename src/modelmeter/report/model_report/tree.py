"""The module tree of a report: the real model's modules, equal ones of a list as one node with a count."""

import inspect
from collections.abc import Iterator, Sequence

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.layer import Layer
from modelmeter.hardware.timeline import Span
from modelmeter.nn.token import CachedLayer
from modelmeter.report.model_report.metrics import (
    AnalyticModuleNode,
    ModuleMetricsSnapshot,
    OperatorMetrics,
    ParameterInfo,
    StageName,
    TimeMetrics,
)
from modelmeter.report.model_report.records import ModuleRecord, StageRecord, module_records


def module_tree(network: Layer, stages: Sequence[StageRecord]) -> AnalyticModuleNode:
    """The tree of `network` with the stages' numbers in it. Each stage's total is the root's, exactly."""
    records = {stage.name: module_records(stage) for stage in stages}
    cached = {stage.name: stage.cost.kv_cache_bytes for stage in stages}
    return _Builder(records, cached, _num_caches(network)).node(network, "")


class _Builder:
    """Builds nodes from the records of the stages; `cached` bytes are shared evenly by `num_caches` layers."""

    def __init__(
        self, records: dict[StageName, dict[str, ModuleRecord]], cached: dict[StageName, int], num_caches: int
    ) -> None:
        self.records = records
        self.cached = cached
        self.num_caches = num_caches
        called = dict.fromkeys(path for stage in sorted(records.values(), key=len, reverse=True) for path in stage)
        self.order = {path: place for place, path in enumerate(called)}

    def node(self, layer: Layer, path: str) -> AnalyticModuleNode:
        """The node of one module and all below it."""
        children = self._children(layer, path)
        has_cache = isinstance(layer, CachedLayer) and not any(isinstance(x, CachedLayer) for _, x in _named(layer))
        return AnalyticModuleNode(
            path=path,
            class_name=type(layer).__name__,
            about=_about(layer),
            paths=(path,),
            parameters=layer.parameter_count(),
            weights_bytes=layer.parameter_bytes(),
            weights={
                name: ParameterInfo(shape=weight.shape, dtype=weight.dtype.name, num_bytes=weight.nbytes)
                for name, weight in layer.named_parameters()
                if "." not in name and not weight.tied
            },
            snapshots={
                stage: self._snapshot(stage, records[path], layer, has_cache, children)
                for stage, records in self.records.items()
                if path in records
            },
            children=children,
        )

    def _children(self, layer: Layer, path: str) -> tuple[AnalyticModuleNode, ...]:
        groups: list[list[AnalyticModuleNode]] = []
        origins: list[tuple[str, int]] = []
        named = [(f"{path}.{name}" if path else name, name, child) for name, child in _named(layer)]
        named.sort(key=lambda entry: self.order.get(entry[0], len(self.order)))  # as they are called
        for below, name, child in named:
            node = self.node(child, below)
            listed, _, index = name.rpartition(".")
            origin = (listed if index.isdigit() else name, id(child))
            like = [i for i, other in enumerate(origins) if other == origin and alike(groups[i][0], node)]
            if like:
                groups[like[0]].append(node)
            else:
                groups.append([node])
                origins.append(origin)
        return tuple(_together(group) for group in groups)

    def _snapshot(
        self,
        stage: StageName,
        record: ModuleRecord,
        layer: Layer,
        has_cache: bool,
        children: tuple[AnalyticModuleNode, ...],
    ) -> ModuleMetricsSnapshot:
        below = [(child.repeats, child.snapshots[stage]) for child in children if stage in child.snapshots]
        own = [operator.time.predicted for operator in record.operators if operator.time is not None]
        spans = own + [_scaled(snapshot.time.predicted, n) for n, snapshot in below if snapshot.time is not None]
        kv = self.cached[stage] // self.num_caches if has_cache else 0
        cost = StageCost(
            cost=sum((snapshot.cost.cost * n for n, snapshot in below), _sum(record)),
            weights_bytes=layer.parameter_bytes(),
            activations_bytes=record.peak_bytes,
            kv_cache_bytes=kv + sum(n * snapshot.cost.kv_cache_bytes for n, snapshot in below),
        )
        time = TimeMetrics(predicted=sum(spans, Span())) if spans else None
        return ModuleMetricsSnapshot(calls=record.calls, cost=cost, time=time, operators=record.operators)


def _sum(record: ModuleRecord) -> Cost:
    return sum((operator.cost for operator in record.operators), Cost())


def _named(layer: Layer) -> Iterator[tuple[str, Layer]]:
    """(name, child) of the children that have a name; those of a child without one are its parent's."""
    for name, child in layer.named_children():
        if name:
            yield name, child
        else:
            yield from _named(child)


def _num_caches(layer: Layer) -> int:
    """Layers that hold a cache: attention layers, or decoder layers without any in them."""
    below = sum(_num_caches(child) for _, child in _named(layer))
    return below or int(isinstance(layer, CachedLayer))


def _about(layer: Layer) -> str:
    """What a layer says of itself in its first line."""
    return inspect.cleandoc(type(layer).__doc__ or "").partition("\n\n")[0].replace("\n", " ")


def alike(a: AnalyticModuleNode, b: AnalyticModuleNode) -> bool:
    """Whether two modules cost the same in every stage, down to their operators; their times may differ."""
    if a.snapshots.keys() != b.snapshots.keys() or len(a.children) != len(b.children):
        return False
    for stage, one in a.snapshots.items():
        other = b.snapshots[stage]
        if (one.calls, one.cost) != (other.calls, other.cost):
            return False
        if [_untimed(x) for x in one.operators] != [_untimed(x) for x in other.operators]:
            return False
    pairs = zip(a.children, b.children, strict=True)
    return all(x.repeats == y.repeats and x.class_name == y.class_name and alike(x, y) for x, y in pairs)


def _untimed(operator: OperatorMetrics) -> OperatorMetrics:
    return attrs.evolve(operator, time=None)


def _together(nodes: list[AnalyticModuleNode]) -> AnalyticModuleNode:
    """Equal modules as one node: the first, with the means of their times."""
    first = nodes[0]
    if len(nodes) == 1:
        return first
    return attrs.evolve(_averaged(nodes), repeats=len(nodes), paths=tuple(node.path for node in nodes))


def _averaged(nodes: list[AnalyticModuleNode]) -> AnalyticModuleNode:
    first = nodes[0]
    snapshots = {name: _mean_snapshot([node.snapshots[name] for node in nodes]) for name in first.snapshots}
    children = [_averaged([node.children[i] for node in nodes]) for i in range(len(first.children))]
    return attrs.evolve(first, snapshots=snapshots, children=tuple(children))


def _mean_snapshot(snapshots: list[ModuleMetricsSnapshot]) -> ModuleMetricsSnapshot:
    first = snapshots[0]
    operators = tuple(
        attrs.evolve(operator, time=_mean_time([snapshot.operators[i].time for snapshot in snapshots]))
        for i, operator in enumerate(first.operators)
    )
    return attrs.evolve(first, time=_mean_time([snapshot.time for snapshot in snapshots]), operators=operators)


def _mean_time(times: list[TimeMetrics | None]) -> TimeMetrics | None:
    spans = [time.predicted for time in times if time is not None]
    return TimeMetrics(predicted=_scaled(sum(spans, Span()), 1 / len(spans))) if spans else None


def _scaled(span: Span, times: float) -> Span:
    return Span(
        seconds=span.seconds * times, tensor=span.tensor * times, vector=span.vector * times, memory=span.memory * times
    )
