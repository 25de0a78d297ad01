"""The timeline: when each operator of a trace runs on a device, and what it waits for."""

from collections.abc import Hashable, Iterator
from typing import Final, Literal, TypeAlias, TypeVar

import attrs

from modelmeter.core.dims import Dim, is_array, is_symbol, maximum
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.recorder import Segment
from modelmeter.core.trace import Trace
from modelmeter.hardware.device import Device
from modelmeter.hardware.machine import Execution, Machine, Terms
from modelmeter.hardware.stream import NOTHING, START, Clocks, Stream, operator

Level: TypeAlias = Literal["roofline", "calibrated"]
Resource: TypeAlias = Literal["tensor", "vector", "memory", "launch"]
Name = TypeVar("Name", bound=Hashable)
RESOURCES: Final[tuple[Resource, ...]] = ("tensor", "vector", "memory", "launch")


@attrs.frozen(kw_only=True)
class OperatorTime:
    """One operator on the timeline, seconds: `start` to `start + seconds` is its time, waiting for its launch included.

    `tensor`, `vector` and `memory` overlap; `launch` is what it waited, and what its kernels take to start. The host
    launches it from `host_start` for `host_seconds`; the device runs it in the last `busy` seconds of its time.
    """

    path: str
    op: Op
    start: float
    seconds: float
    busy: float
    host_start: float
    host_seconds: float
    tensor: float
    vector: float
    memory: float
    launch: float
    binds: Resource


@attrs.frozen(kw_only=True)
class Span:
    """Operators taken together, seconds: what they take, and of that what the longest term of each operator was."""

    seconds: Dim = 0.0
    tensor: Dim = 0.0
    vector: Dim = 0.0
    memory: Dim = 0.0

    @property
    def launch(self) -> Dim:
        """Waiting for launches, and what kernels take to start."""
        return maximum(self.seconds - self.tensor - self.vector - self.memory, 0.0)

    @property
    def binds(self) -> Resource:
        """The resource that the largest share of the time waits for."""
        return max(RESOURCES, key=lambda name: float(getattr(self, name)))

    def __add__(self, other: "Span") -> "Span":
        return Span(
            seconds=self.seconds + other.seconds,
            tensor=self.tensor + other.tensor,
            vector=self.vector + other.vector,
            memory=self.memory + other.memory,
        )


class Timeline:
    """A trace on a machine. `seconds` is from an idle device to the end of the last kernel; ints or arrays, no symbols.

    `level` is "roofline" (data-sheet rates) or "calibrated" (what kernels reach). The stage's time is the sum of its
    operators', and of its layers'.
    """

    def __init__(self, trace: Trace, machine: Machine) -> None:
        if is_symbol(trace.root.numbers[2]) or is_symbol(trace.root.numbers[4]):
            raise ModelMeterError("roofline() needs numbers: substitute the symbols, or record the trace with sizes")
        self.trace = trace
        self.machine = machine
        self._terms: dict[int, Terms] = {}
        self._streams: dict[int, Stream] = {}
        self._spans: dict[int, Span] = {}

    @property
    def device(self) -> Device:
        """The device."""
        return self.machine.device

    @property
    def execution(self) -> Execution:
        """How it is launched."""
        return self.machine.execution

    @property
    def level(self) -> Level:
        """Which of the labelled levels of time this is."""
        return "roofline" if self.machine.calibration is None else "calibrated"

    @property
    def seconds(self) -> Dim:
        """Seconds of the whole."""
        return self._stream(self.trace.root).after(START).device

    @property
    def total(self) -> Span:
        """The whole, and what it waits for."""
        return self._span(START, Clocks(0.0, self.seconds), self.trace.root)

    @property
    def launches(self) -> Dim:
        """Kernels launched."""
        total: Dim = 0
        for _, op in self.trace.operators():
            total = total + self.machine.launches(op)
        return total

    def operators(self) -> Iterator[OperatorTime]:
        """Every operator in order; allocations, which take no time, too."""
        clocks = START
        for path, op in self.trace.operators():
            before, clocks = clocks, self._stream(op).after(clocks)
            host = self.machine.launches(op) * self.machine.host_seconds
            yield _listed(path, op, self._of(op), before, clocks.device - before.device, host)

    def split(self, pieces: Iterator[tuple[Name, Op | Segment]]) -> dict[Name, Span]:
        """The time of each name, for `pieces` that are the whole trace in order. Adds up to `total`."""
        spans: dict[Name, Span] = {}
        clocks = START
        for name, piece in pieces:
            before, clocks = clocks, self._stream(piece).after(clocks)
            spans[name] = spans.get(name, Span()) + self._span(before, clocks, piece)
        return spans

    def by_layer(self, depth: int | None = None) -> dict[str, Span]:
        """The time of each module path, cut to `depth` names: disjoint rows that add up to `total`."""
        return self.split((".".join(path.split(".")[:depth]), op) for path, op in self.trace.operators())

    def by_op(self) -> dict[str, Span]:
        """The time of each operator name."""
        return self.split((op.name, op) for _, op in self.trace.operators())

    def __str__(self) -> str:
        place = f"on {self.device.name} ({self.level}, {self.execution})"
        if is_array(self.seconds):
            return f"{self.seconds.min() * 1e3:.3f} to {self.seconds.max() * 1e3:.3f} ms {place}"
        total = self.total
        return f"{float(total.seconds) * 1e3:.3f} ms {place}, bound by {total.binds}"

    def __repr__(self) -> str:
        return f"Timeline({self})"

    def _repr_html_(self) -> str:
        from modelmeter.report.notebook import timeline_html

        return timeline_html(self)

    def _of(self, op: Op) -> Terms:
        found = self._terms.get(id(op))
        if found is None:
            found = self._terms[id(op)] = self.machine.terms(op)
        return found

    def _stream(self, item: Op | Segment) -> Stream:
        """What an operator or a layer's call does to the clocks; each object once, as equal layers share theirs."""
        found = self._streams.get(id(item))
        if found is not None:
            return found
        if isinstance(item, Op):
            host = self.machine.launches(item) * self.machine.host_seconds
            waits = item.syncs or self.machine.synchronous
            found = operator(host, self._of(item).seconds, waits=waits)
        else:
            found = NOTHING
            for below in item.items:
                found = found.then(self._stream(below))
        self._streams[id(item)] = found
        return found

    def _span(self, before: Clocks, after: Clocks, item: Op | Segment) -> Span:
        return attrs.evolve(self._busy(item), seconds=after.device - before.device)

    def _busy(self, item: Op | Segment) -> Span:
        found = self._spans.get(id(item))
        if found is None:
            found = Span()
            if isinstance(item, Op):
                found = _busy(self._of(item))
            else:
                for below in item.items:
                    found = found + self._busy(below)
            self._spans[id(item)] = found
        return found


def _busy(terms: Terms) -> Span:
    """The longest of the three terms, under its name (the first of equals)."""
    tensor, vector, memory, _ = terms
    tensor_first = (tensor >= vector) & (tensor >= memory)
    vector_next = (vector >= memory) & ~tensor_first if not isinstance(tensor_first, bool) else None
    if vector_next is None:
        is_vector = not tensor_first and vector >= memory
        return Span(
            tensor=tensor if tensor_first else 0.0,
            vector=vector if is_vector else 0.0,
            memory=memory if not (tensor_first or is_vector) else 0.0,
        )
    return Span(
        tensor=tensor * tensor_first,
        vector=vector * vector_next,
        memory=memory * (~tensor_first & ~vector_next),
    )


def _listed(path: str, op: Op, terms: Terms, before: Clocks, seconds: float, host: float) -> OperatorTime:
    longest = max(terms.tensor, terms.vector, terms.memory)
    values: dict[Resource, float] = {
        "tensor": terms.tensor,
        "vector": terms.vector,
        "memory": terms.memory,
        "launch": max(seconds - longest, 0.0),
    }
    return OperatorTime(
        path=path,
        op=op,
        start=before.device,
        seconds=seconds,
        busy=terms.seconds,
        host_start=before.host,
        host_seconds=host,
        binds=max(RESOURCES, key=lambda name: values[name]),
        **values,
    )
