"""Two traces laid side by side: what ran in the real model, what its twin says."""

from collections.abc import Iterator, Mapping
from typing import Final

import attrs

from modelmeter.core.cost import COST_FIELDS, Cost
from modelmeter.core.layer import Layer
from modelmeter.core.op import NOTHING, Numbers, Op
from modelmeter.core.recorder import Segment
from modelmeter.core.trace import Trace
from modelmeter.live.recording.record import RealModule
from modelmeter.live.reference.adapter import Quantity

BOUNDED: Final = ("activation_bytes", "peak_bytes", "saved_bytes")
"""Quantities with a stated bound. All others are exact: equal as integers."""

ATTENTION_KERNEL: Final = "flash_attention"
_EXPERT_PRODUCTS: Final = ("mm", "bmm", "_grouped_mm")
_KERNEL_NAMES: Final = ("_scaled_dot_product", "_flash_att", "_efficient_att")


@attrs.frozen
class Check:
    """One quantity on both sides. `bound` is the relative difference allowed: 0 is equality."""

    quantity: Quantity
    measured: int
    analytic: int
    bound: float = 0.0

    @property
    def difference(self) -> int:
        """Analytic minus measured."""
        return self.analytic - self.measured

    @property
    def relative(self) -> float:
        """The difference as a part of what was measured."""
        return 0.0 if not self.difference else self.difference / self.measured if self.measured else float("inf")

    @property
    def ok(self) -> bool:
        """Equal, or inside the bound."""
        return abs(self.relative) <= self.bound


@attrs.frozen
class OperatorCheck:
    """All calls of one operator on both sides; its counted FLOPs are exact, calls and bytes are for reading."""

    name: str
    measured_calls: int
    analytic_calls: int
    measured_flops: int
    analytic_flops: int
    measured_bytes: int
    analytic_bytes: int
    measured_backward_flops: int = 0
    analytic_backward_flops: int = 0

    @property
    def ok(self) -> bool:
        """The same FLOPs."""
        forward = self.measured_flops == self.analytic_flops
        return forward and self.measured_backward_flops == self.analytic_backward_flops


@attrs.frozen
class Row:
    """Modules of one class with the same numbers, each at one of `paths`; the whole is at "". `layer` is the class."""

    paths: tuple[str, ...]
    layer: str
    checks: tuple[Check, ...]
    operators: tuple[OperatorCheck, ...]

    @property
    def path(self) -> str:
        """The first module's path."""
        return self.paths[0]

    @property
    def times(self) -> int:
        """How many modules there are."""
        return len(self.paths)

    @property
    def ok(self) -> bool:
        """Every check and every operator."""
        return all(check.ok for check in self.checks) and all(operator.ok for operator in self.operators)

    @property
    def only_measured(self) -> tuple[str, ...]:
        """Operators that the twin does not have."""
        return tuple(operator.name for operator in self.operators if not operator.analytic_calls)

    @property
    def only_analytic(self) -> tuple[str, ...]:
        """Operators that the real module does not have."""
        return tuple(operator.name for operator in self.operators if not operator.measured_calls)

    def check(self, quantity: Quantity) -> Check:
        """The check of one quantity. Raises `KeyError`."""
        for check in self.checks:
            if check.quantity == quantity:
                return check
        raise KeyError(quantity)


@attrs.define
class Tally:
    """All calls of one operator: how many, counted FLOPs, bytes, and the backward's counted FLOPs."""

    calls: int = 0
    flops: int = 0
    num_bytes: int = 0
    backward_flops: int = 0

    def plus(self, other: "Tally") -> "Tally":
        """The calls of both."""
        return Tally(*[a + b for a, b in zip(attrs.astuple(self), attrs.astuple(other), strict=True)])


@attrs.define
class Folded:
    """All calls of one path added up; peaks are the largest of a call's."""

    calls: int = 0
    forward: Numbers = NOTHING
    backward: Numbers = NOTHING
    peak: int = 0
    cached: int = 0
    saved: int = 0
    operators: dict[str, Tally] = attrs.field(factory=dict)
    owner: object = None

    def add(self, segment: Segment) -> None:
        """Another call."""
        self.calls += 1
        self.owner = segment.layer
        self.forward = tuple(a + b for a, b in zip(self.forward, segment.numbers, strict=True))
        self.backward = tuple(a + b for a, b in zip(self.backward, segment.backward_numbers, strict=True))
        net, peak = segment.peak_with_cache()
        self.peak = max(self.peak, peak)
        self.cached += net - segment.peak()[0]
        self.saved += segment.saved_bytes

    def count(self, path: str, op: Op) -> None:
        """An operator that ran in one of the calls, in the module at `path`."""
        if any(op.numbers):
            tally = self.operators.setdefault(operator_name(path, op.name), Tally())
            tally.calls += 1
            tally.flops += op.numbers[_COUNTED]
            tally.num_bytes += sum(op.numbers[_COUNTED + 1 :])
        if op.backward_numbers[_COUNTED]:
            tally = self.operators.setdefault(_backward_name(path, op.name), Tally())
            tally.backward_flops += op.backward_numbers[_COUNTED]


_COUNTED: Final = COST_FIELDS.index("counted_flops")


def operator_name(path: str, name: str) -> str:
    """One name for an operator and its in-place variant, for every attention kernel, and for the experts' products.

    Routed experts multiply in a loop (mm), as one batch (bmm) or in groups (_grouped_mm): the same products.
    """
    if name.startswith(_KERNEL_NAMES) or name == ATTENTION_KERNEL:
        return ATTENTION_KERNEL
    if name in _EXPERT_PRODUCTS and ".experts" in path:
        return "experts' mm"
    return name.removesuffix("_")


def _backward_name(path: str, name: str) -> str:
    """The kind of product a backward is made of: a linear layer's, with or without a bias, is mm."""
    plain = operator_name(path, name).removesuffix("_backward")
    return "mm" if plain == "addmm" else plain


def fold(trace: Trace) -> dict[str, Folded]:
    """Every module path of a trace; the whole is ""."""
    paths: dict[str, Folded] = {}
    for path, segment in trace.segments():
        paths.setdefault(path, Folded()).add(segment)
    for path, op in trace.operators():
        for above in _above(path):
            if above in paths:
                paths[above].count(path, op)
    return paths


def _above(path: str) -> Iterator[str]:
    """A path and every path around it."""
    yield path
    while path:
        path = path.rpartition(".")[0]
        yield path


def checks(real: Folded, twin: Folded, bounds: Mapping[str, float], *, backward: bool) -> tuple[Check, ...]:
    """Every quantity of one path. `bounds` gives those of `BOUNDED`."""
    measured, analytic = Cost.from_values(real.forward), Cost.from_values(twin.forward)
    found = [Check("counted_flops", measured.counted_flops, analytic.counted_flops)]
    if backward:
        found.append(Check("backward_flops", real.backward[_COUNTED], twin.backward[_COUNTED]))
    if isinstance(real.owner, RealModule) and isinstance(twin.owner, Layer):
        weights = list(real.owner.module.parameters())
        found += [
            Check("parameters", sum(weight.numel() for weight in weights), twin.owner.parameter_count()),
            Check(
                "parameter_bytes",
                sum(weight.numel() * weight.element_size() for weight in weights),
                twin.owner.parameter_bytes(),
            ),
        ]
    found += [
        Check("kv_cache_bytes", real.cached, twin.cached),
        Check("kv_traffic_bytes", measured.kv_bytes, analytic.kv_bytes),
        Check("weight_read_bytes", measured.weight_bytes, analytic.weight_bytes),
        Check("activation_bytes", measured.activation_bytes, analytic.activation_bytes, bounds["activation_bytes"]),
    ]
    if backward:
        found.append(Check("saved_bytes", real.saved, twin.saved, bounds["saved_bytes"]))
    elif real.calls == twin.calls:  # of a loop over experts the twin makes one call: its peak is another thing
        found.append(Check("peak_bytes", real.peak, twin.peak, bounds["peak_bytes"]))
    return tuple(found)


def operator_checks(real: Folded, twin: Folded) -> tuple[OperatorCheck, ...]:
    """Every operator that either side ran, in the order of the real one."""
    found = []
    for name in dict.fromkeys((*real.operators, *twin.operators)):
        a, b = real.operators.get(name, Tally()), twin.operators.get(name, Tally())
        pairs = (
            (a.calls, b.calls),
            (a.flops, b.flops),
            (a.num_bytes, b.num_bytes),
            (a.backward_flops, b.backward_flops),
        )
        found.append(OperatorCheck(name, *[number for pair in pairs for number in pair]))
    return tuple(found)
