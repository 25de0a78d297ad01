"""Recording: what a run of `forward` on shape-only tensors leaves behind, a tree of segments of operators.

A segment is one layer's call: its own operators and its children's segments, in order. Segments are remembered by the
shapes that made them, so equal layers are recorded once. A recording is single-threaded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import attrs

from modelmeter.core.cost import COST_FIELDS, add
from modelmeter.core.dims import Dim, largest, set_sweep
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import Op
from modelmeter.core.tensor import DType, Role, Shape, Storage, Tensor

CALLED, TAKEN, GIVEN_BACK, CACHED, DROPPED = range(5)
"""What happens to memory: a child's call; an activation comes or goes; the KV cache gains or loses bytes."""


_ONE: Dim = 1


class Owner(Protocol):
    """What a segment needs of the layer whose call it is."""

    def path_of(self, child: Any, nth: int, path: str) -> str:
        """The module path of the `nth` call of `child` here, where this layer's own path is `path`."""


@attrs.frozen(kw_only=True)
class RecordOptions:
    """What is counted: `elementwise` FLOPs or none; with `grad` the backward pass, with `weight_grads` or none."""

    grad: bool = False
    weight_grads: bool = True
    elementwise: bool = True


class Segment:
    """One call of one layer: operators and child calls in order, and when memory was taken and given back."""

    __slots__ = ("_backward_numbers", "_numbers", "_peak", "events", "items", "layer", "plain", "saved")

    def __init__(self, layer: Owner | None, *, plain: bool = False) -> None:
        self.layer = layer
        self.plain = plain  # all its numbers are Python ints
        self.items: list[Op | Segment] = []
        self.events: list[tuple[int, Any]] = []  # (TAKEN | GIVEN_BACK | CACHED | DROPPED, bytes); (CALLED, child)
        self.saved: list[Dim] = []  # bytes kept for backward, each storage once
        self._numbers: tuple[Dim, ...] | None = None
        self._backward_numbers: tuple[Dim, ...] | None = None
        self._peak: tuple[Dim, Dim] | None = None

    @property
    def numbers(self) -> tuple[Dim, ...]:
        """The eight quantities of a `Cost`, over own operators and children."""
        if self._numbers is None:
            self._numbers = fold_numbers([item.numbers for item in self.items], plain=self.plain)
        return self._numbers

    @property
    def backward_numbers(self) -> tuple[Dim, ...]:
        """The same for the backward pass."""
        if self._backward_numbers is None:
            self._backward_numbers = fold_numbers([item.backward_numbers for item in self.items], plain=self.plain)
        return self._backward_numbers

    @property
    def saved_bytes(self) -> Dim:
        """Bytes kept for backward in this call and its children."""
        total: Dim = 0
        for num_bytes in self.saved:
            total = add(total, num_bytes)
        for item in self.items:
            if isinstance(item, Segment):
                total = add(total, item.saved_bytes)
        return total

    def peak(self) -> tuple[Dim, Dim]:
        """(bytes still held at the end, largest number of bytes held at once), both relative to the start."""
        if self._peak is None:
            self._peak = self._plain_peak() if self.plain else self._fold_memory(Segment.peak, with_cache=False)
        return self._peak

    def peak_with_cache(self) -> tuple[Dim, Dim]:
        """`peak` of activations and KV cache together, the cache beyond what it held at the start."""
        return self._fold_memory(Segment.peak_with_cache, with_cache=True)

    def _fold_memory(self, of: "Callable[[Segment], tuple[Dim, Dim]]", *, with_cache: bool) -> tuple[Dim, Dim]:
        live: Dim = 0
        candidates: list[Dim] = [0]
        for event, what in self.events:
            if event == CALLED:
                net, top = of(what)
                candidates.append(add(live, top))
                live = add(live, net)
            elif event == TAKEN or (event == CACHED and with_cache):
                live = add(live, what)
                candidates.append(live)
            elif event == GIVEN_BACK or (event == DROPPED and with_cache):
                live = live - what
        return live, largest(candidates)

    def _plain_peak(self) -> tuple[int, int]:
        """`peak` in Python ints."""
        live = top = 0
        for event, what in self.events:
            if event == TAKEN:
                live += what
                top = max(top, live)
            elif event == GIVEN_BACK:
                live -= what
            elif event == CALLED:
                net, above = what.peak()
                top = max(top, live + above)
                live += net
        return live, top


def fold_numbers(parts: list[tuple[Dim, ...]], *, plain: bool = False) -> tuple[Dim, ...]:
    """Sum, quantity by quantity. An array met n times (equal layers share theirs) is scaled, not added n times."""
    if plain and parts:
        return tuple([sum(column) for column in zip(*parts, strict=True)])
    totals: list[Dim] = [0] * len(COST_FIELDS)
    times: list[dict[int, list[Dim]]] = [{} for _ in COST_FIELDS]
    for numbers in parts:
        for i, value in enumerate(numbers):
            if type(value) is int:
                totals[i] += value
            else:
                entry = times[i].setdefault(id(value), [value, 0])
                entry[1] += 1
    for i, seen in enumerate(times):
        for value, n in seen.values():
            totals[i] = totals[i] + (value if n == 1 else value * n)
    return tuple(totals)


class Recorder:
    """The state of one recording: options, the open segment, and the memo for shapes that cannot be hashed by value."""

    def __init__(self, options: RecordOptions, *, by_identity: bool, plain: bool) -> None:
        self.options = options
        self.plain = plain
        self.segment: Segment | None = Segment(None, plain=plain)
        self.by_identity = by_identity  # arrays: remembered by identity, for this recording only
        self.local_memo: dict[Any, Any] = {}
        self.muted = 0  # inside a fused operator nothing is kept for backward
        self.rounds: Dim = _ONE  # of the loop that runs

    def take(self, shape: Shape, dtype: DType, role: Role = "activation", *, needs_grad: bool = False) -> Tensor:
        """A new tensor in new memory, given back when its last view dies."""
        out = Tensor(shape, dtype, role, None, needs_grad)
        if role == "activation":
            nbytes = out.nbytes
            out.storage = Storage(self, nbytes)
            (self.segment or self.open).events.append((TAKEN, nbytes))
        elif role == "kv":
            self.open.events.append((CACHED, out.nbytes))
        return out

    def drop(self, num_bytes: Dim) -> None:
        """The KV cache lets go of `num_bytes`."""
        self.open.events.append((DROPPED, num_bytes))

    @property
    def open(self) -> Segment:
        """The segment being recorded."""
        if self.segment is None:
            raise ModelMeterError("this recording has ended: its tensors cannot be used again")
        return self.segment

    def freed(self, num_bytes: Dim) -> None:
        """Called by a storage at its end of life; after the recording it no longer matters."""
        if self.segment is not None:
            self.segment.events.append((GIVEN_BACK, num_bytes))

    @contextmanager
    def untracked(self) -> Iterator[None]:
        """Memory taken and given back inside does not count: the caller has accounted for it."""
        segment, mark = self.open, len(self.open.events)
        yield
        del segment.events[mark:]

    @contextmanager
    def unpriced(self) -> Iterator[None]:
        """What runs inside costs nothing but its memory: the caller has accounted for the rest."""
        segment, mark, kept = self.open, len(self.open.items), len(self.open.saved)
        yield
        del segment.items[mark:], segment.saved[kept:]

    @contextmanager
    def repeated(self, rounds: Dim) -> Iterator[None]:
        """What is recorded inside is the sum over `rounds` rounds of a loop: so many kernels each."""
        outside, self.rounds = self.rounds, rounds
        yield
        self.rounds = outside

    def add(self, op: Op) -> None:
        """An operator ran."""
        if self.rounds is not _ONE:
            op.launches = op.launches * self.rounds
        self.open.items.append(op)

    def keep(self, tensor: Tensor) -> None:
        """Keep a tensor for backward: its storage counts once."""
        storage = tensor.storage
        while storage is not None and not storage.saved and not self.muted:
            storage.saved = True
            self.open.saved.append(storage.nbytes)
            storage = storage.base


_current: Recorder | None = None


def current(call: str) -> Recorder:
    """The recorder at work. Raises when `call` happens outside a recording."""
    if _current is None:
        raise ModelMeterError(f"{call} runs inside a recording only: ask layer.trace() or layer.get_forward_cost()")
    return _current


def record(
    run: Callable[[Recorder], Any], options: RecordOptions, *, by_identity: bool = False, plain: bool = False
) -> Segment:
    """Record `run` and return its root segment. Recordings do not nest. `plain`: all its sizes are Python ints."""
    global _current  # noqa: PLW0603 - operators find their recorder without threading it through every forward
    if _current is not None:
        raise ModelMeterError("a recording is running: forward() must not ask for costs, nor two threads at a time")
    recorder = _current = Recorder(options, by_identity=by_identity, plain=plain)
    set_sweep(by_identity)
    root = recorder.open
    try:
        run(recorder)
    finally:
        _current = None
        recorder.segment = None
        set_sweep(False)
    return root
