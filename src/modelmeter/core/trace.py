"""The trace: the operators of one recording, and the folds over them."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from modelmeter.core.cost import COST_FIELDS, Cost, add
from modelmeter.core.dims import Dim, maximum
from modelmeter.core.op import Op
from modelmeter.core.recorder import CALLED, GIVEN_BACK, TAKEN, Segment

if TYPE_CHECKING:
    from modelmeter.core.precision import Precision
    from modelmeter.hardware.machine import Execution
    from modelmeter.hardware.timeline import Timeline

_WEIGHTS = COST_FIELDS.index("weight_read_bytes")


@attrs.frozen
class OpTotal:
    """All calls of one operator: how many, and their cost."""

    calls: int
    cost: Cost


@attrs.frozen
class Unpriced:
    """An operator without a declared price: its bytes are counted, its FLOPs are not."""

    name: str
    path: str
    calls: int


@attrs.frozen
class Trace:
    """What ran, in order, under the real module's paths. Everything else is a sum over it."""

    root: Segment = attrs.field(repr=False)
    unpriced: tuple[Unpriced, ...] = ()
    """Operators of a real module that have no declared price; a twin has none: there they are errors."""
    retrace: "Callable[[Precision], Trace] | None" = attrs.field(default=None, repr=False, eq=False)
    """Records the same again in another precision; a model's trace knows how."""

    @property
    def total(self) -> Cost:
        """The cost of all operators."""
        return Cost.from_values(self.root.numbers)

    @property
    def backward(self) -> Cost:
        """The cost of the backward pass; zero unless recorded with gradients."""
        return Cost.from_values(self.root.backward_numbers)

    @property
    def saved_bytes(self) -> Dim:
        """Bytes of activations kept for the backward pass, each storage once."""
        return self.root.saved_bytes

    @property
    def peak_bytes(self) -> Dim:
        """Largest number of activation bytes alive at once, the inputs included."""
        return self.root.peak()[1]

    @property
    def peak_with_cache_bytes(self) -> Dim:
        """`peak_bytes` together with what the KV cache gains, a copy made of it while it grows included."""
        return self.root.peak_with_cache()[1]

    def roofline(
        self, device: Any, *, precision: "Precision | str | None" = None, execution: "Execution" = "eager"
    ) -> "Timeline":
        """When each operator runs on `device` (a name, a device file, or a `Device`) at data-sheet rates.

        `execution`: "eager", "graph" or "fused"; in another `precision` (or with weights in "int4", ...) the trace is
        recorded again. Forward only.
        """
        from modelmeter.hardware.roofline import roofline

        return roofline(self, device, precision=precision, execution=execution)

    def calibrated(
        self, device: Any, *, precision: "Precision | str | None" = None, execution: "Execution" = "eager"
    ) -> "Timeline":
        """The same at the rates that kernels reach on a device that `modelmeter calibrate` has measured."""
        from modelmeter.hardware.roofline import calibrated

        return calibrated(self, device, precision=precision, execution=execution)

    def operators(self) -> Iterator[tuple[str, Op]]:
        """(module path, operator) in the order they ran, every layer listed."""
        for path, item in _walk("", self.root):
            if isinstance(item, Op):
                yield path, item

    def segments(self) -> Iterator[tuple[str, Segment]]:
        """(module path, call) of every named layer, parents before children; the whole has the path "".

        A layer without a name of its own is part of the one around it.
        """
        yield "", self.root
        for path, item in _walk("", self.root):
            if isinstance(item, Segment):
                yield path, item

    def by_layer(self, depth: int | None = None) -> dict[str, Cost]:
        """The cost of each module path.

        Without `depth` every module, its children included (a parent holds the sum of its children and its own
        operators). With `depth` the paths are cut to that many names: disjoint rows that add up to `total`, parents
        (their own operators) before children.
        """
        sums: dict[str, Cost] = {}
        if depth is None:
            for path, segment in self.segments():
                sums[path] = sums.get(path, Cost()) + Cost.from_values(segment.numbers)
            return sums
        order: dict[str, None] = {}
        for path, _ in self.segments():
            order.setdefault(_cut(path, depth))
        for path, op in self.operators():
            short = _cut(path, depth)
            sums[short] = sums.get(short, Cost()) + op.cost
        return {path: sums[path] for path in order if path in sums}

    def used_weights(self) -> dict[str, Dim]:
        """Bytes of weights each module reads itself, once however often it is called (the largest of its calls)."""
        used: dict[str, Dim] = {}
        used[""] = _weights_read("", self.root, used)
        return used

    def live_peaks(self, group: Callable[[str], str | None], rest: str) -> dict[str, Dim]:
        """The most activation bytes alive while each group of modules runs, whoever holds them; inputs included.

        `group` gives the group that a module path and all below it belong to; None looks inside, where what belongs to
        no group is the `rest`. The largest is `peak_bytes`.
        """
        peaks: dict[str, Dim] = {}
        _live("", self.root, 0, group, rest, peaks)
        return peaks

    def by_op(self) -> dict[str, OpTotal]:
        """The calls and cost of each operator name, in the order of first appearance."""
        sums: dict[str, OpTotal] = {}
        for _, op in self.operators():
            before = sums.get(op.name, OpTotal(0, Cost()))
            sums[op.name] = OpTotal(before.calls + 1, before.cost + op.cost)
        return sums

    def __str__(self) -> str:
        total = self.total
        return (
            f"{len(self)} operators, {total.flops} FLOPs ({total.counted_flops} counted), {total.io_bytes} bytes moved"
        )

    def _repr_html_(self) -> str:
        from modelmeter.report.notebook import trace_html

        return trace_html(self)

    def __len__(self) -> int:
        return sum(1 for _ in self.operators())


def _cut(path: str, depth: int) -> str:
    return ".".join(path.split(".")[:depth])


def _walk(path: str, segment: Segment) -> Iterator[tuple[str, Op | Segment]]:
    """All below a segment, in order: its operators, and each named call before what is in it."""
    for below, item in _items(path, segment):
        if isinstance(item, Op):
            yield below, item
            continue
        if below != path:
            yield below, item
        yield from _walk(below, item)


def _items(path: str, segment: Segment) -> Iterator[tuple[str, Op | Segment]]:
    """The operators and calls of a segment, in order, each with its path; a call without a name has its parent's."""
    calls: dict[int, int] = {}
    for item in segment.items:
        below = path
        if isinstance(item, Segment) and segment.layer is not None and item.layer is not None:
            nth = calls.get(id(item.layer), 0)
            calls[id(item.layer)] = nth + 1
            below = segment.layer.path_of(item.layer, nth, path)
        yield below, item


def _live(
    path: str, segment: Segment, live: Dim, group: Callable[[str], str | None], rest: str, peaks: dict[str, Dim]
) -> Dim:
    """Walk the memory of a call that begins with `live` bytes alive, and return how many are when it ends."""
    paths: dict[int, list[str]] = {}
    for below, item in _items(path, segment):
        if isinstance(item, Segment):
            paths.setdefault(id(item), []).append(below)
    for event, what in segment.events:
        if event == CALLED:
            below = paths[id(what)].pop(0) if paths.get(id(what)) else path  # not priced: part of the caller
            name = group(below)
            if name is None:
                live = _live(below, what, live, group, rest, peaks)
                continue
            net, top = what.peak()
            peaks[name] = maximum(peaks.get(name, 0), add(live, top))
            live = add(live, net)
        elif event == TAKEN:
            live = add(live, what)
            peaks[rest] = maximum(peaks.get(rest, 0), live)
        elif event == GIVEN_BACK:
            live = live - what
    return live


def _weights_read(path: str, segment: Segment, used: dict[str, Dim]) -> Dim:
    """What a call reads itself; the largest of each named call below goes to `used`."""
    own: Dim = 0
    for below, item in _items(path, segment):
        if isinstance(item, Op):
            own = add(own, item.numbers[_WEIGHTS])
            continue
        read = _weights_read(below, item, used)
        if below == path:
            own = add(own, read)
        else:
            used[below] = maximum(used.get(below, 0), read)
    return own
