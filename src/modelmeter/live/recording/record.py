"""`record`: run a real module and read what it ran into the `Trace` that a twin gives."""

import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.op import NOTHING, Numbers, Op
from modelmeter.core.recorder import CALLED, Segment
from modelmeter.core.tensor import Role
from modelmeter.core.trace import Trace, Unpriced
from modelmeter.live.recording.aten import Traffic, elements, tensors_of, traffic
from modelmeter.live.recording.caches import cached_tensors, watched_updates
from modelmeter.live.recording.dtypes import dtype_of
from modelmeter.live.recording.gradients import gradients_kept, nested_tensors, run_backward
from modelmeter.live.recording.operators import COMPOSITE, Operator, Operators
from modelmeter.live.recording.storages import Event, Storages

Rename = Callable[[str], str]
"""A real module's path -> the path it is listed under; its parent's, to be part of that."""


def record(
    module: nn.Module,
    /,
    *args: Any,
    backward: bool = False,
    rename: Rename = str,
    **kwargs: Any,
) -> Trace:
    """Run `module(*args, **kwargs)` on meta, CPU or CUDA and return what ran, as a twin's trace.

    Weights and buffers are those of `module`; a transformers cache among the arguments, or made inside, is the KV
    cache; all else is activations, the inputs included. With `backward`, gradients of the output's sum are run too and
    are the operators' backward cost; `.grad` is left as it was. An operator without a declared price is in
    `trace.unpriced`: its bytes count, its FLOPs do not. Peaks are those of the whole run. An error passes through.
    A module with keywords named `backward` or `rename` is run by `record_call`. Modules called in other threads are
    not told apart. Raises `ModelMeterError` for what is no module, and for a forward that is a generator.
    """
    inputs = (args, kwargs)
    return record_call(module, lambda: module(*args, **kwargs), inputs, backward=backward, rename=rename)


def record_call(
    module: nn.Module,
    call: Callable[[], Any],
    inputs: Any = (),
    *,
    backward: bool = False,
    rename: Rename = str,
    at: nn.Module | None = None,
) -> Trace:
    """`record` of any `call` that uses `module`; `inputs` are what it finds in memory.

    `at` is the module that a method of it belongs to: without a call of it, its parts would each be a root.
    """
    if not isinstance(module, nn.Module):
        raise ModelMeterError(f"record() takes a torch.nn.Module, not {module!r}: use record_call(module, call)")
    recording = Recording(module, inputs, rename, grad=backward)
    with ExitStack() as stack:
        stack.callback(recording.storages.close)
        stack.enter_context(torch.set_grad_enabled(backward))
        stack.enter_context(recording.hooked())
        stack.enter_context(watched_updates(recording.writing_cache))
        if backward:
            stack.enter_context(gradients_kept([*module.parameters(), *nested_tensors(inputs)]))
            stack.enter_context(recording.saving())
        stack.enter_context(recording)
        if at is not None:
            stack.enter_context(recording.inside(at))
        result = call()
        if isinstance(result, Generator):
            raise ModelMeterError(
                "the call gave a generator and ran nothing: record_call(module, lambda: list(module(...)))"
            )
        if backward:
            recording.run_backward(result)
    return Trace(recording.root, recording.unpriced())


class RealModule:
    """A real module under the path it is listed by."""

    __slots__ = ("module", "path")

    def __init__(self, path: str, module: nn.Module) -> None:
        self.path = path
        self.module = module

    def path_of(self, child: Any, nth: int, path: str) -> str:
        """The module's own path: the same however it is called."""
        return child.path


class Recording(TorchDispatchMode):
    """Sees every operator below autograd, and the calls of modules around them."""

    def __init__(self, module: nn.Module, inputs: Any, rename: Rename, *, grad: bool) -> None:
        super().__init__()
        self._grad = grad
        self.root = self.open = Segment(RealModule("", module), plain=True)
        self.storages = Storages(self._note)
        self.storages.resident([*module.parameters(), *module.buffers()], "weight")
        self.storages.resident(cached_tensors(inputs), "kv")
        for tensor in nested_tensors(inputs):
            self.storages.of(tensor)
        self._owners = _owners(module, rename)
        self._operators = Operators()
        self._unknown: dict[tuple[str, str], int] = {}
        self._into_cache = 0
        self._forward_of: dict[int, Segment] = {}
        self._backward_from: Segment | None = None
        self._stack: list[Segment] = []
        self._thread = threading.get_ident()

    # Modules

    @contextmanager
    def hooked(self) -> Iterator[None]:
        """Every call of the module and of what is in it opens a segment and closes it.

        The hooks are global ones: torch's fast paths look for those of a module and would take another way.
        """
        enter = register_module_forward_pre_hook(self._enter)
        leave = register_module_forward_hook(self._leave, always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()

    @contextmanager
    def inside(self, module: nn.Module) -> Iterator[None]:
        """What runs here belongs to `module`."""
        if id(module) not in self._owners:
            raise ModelMeterError("record_call(at=...) needs a module inside the recorded one")
        self._enter(module)
        yield
        self._leave(module)

    def _enter(self, module: nn.Module, *_: Any) -> None:
        owner = self._owners.get(id(module))
        if owner is None or threading.get_ident() != self._thread:
            return
        segment = Segment(owner, plain=True)
        self.open.items.append(segment)
        self.open.events.append((CALLED, segment))
        self._stack.append(self.open)
        self.open = segment

    def _leave(self, module: nn.Module, *_: Any) -> None:
        if id(module) in self._owners and threading.get_ident() == self._thread:
            self.open = self._stack.pop()

    # Memory

    def _note(self, event: Event) -> list[Event]:
        self.open.events.append(event)
        return self.open.events

    @contextmanager
    def writing_cache(self) -> Iterator[Callable[[Any], None]]:
        """What is made here is cache, and so is what is kept (told to the function given)."""
        self._into_cache += 1
        try:
            yield self._keep_as_cache
        finally:
            self._into_cache -= 1

    def _keep_as_cache(self, tensors: Any) -> None:
        for tensor in tensors_of(tensors):
            for op, size in self.storages.becomes_cache(tensor):
                *others, written, kv_read, kv_written = op.numbers
                op.numbers = (*others, written - size, kv_read, kv_written + size)

    def _role_of_new(self, tensor: torch.Tensor) -> Role:
        """Numbers that a cache makes while it is written are positions, not cache."""
        return "kv" if self._into_cache and tensor.dtype not in (torch.int64, torch.int32, torch.bool) else "activation"

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Tensors that autograd keeps are the open segment's, each storage once; weights and cache are there anyway."""

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            if self._backward_from is None and (num_bytes := self.storages.newly_saved(tensor)):
                self.open.saved.append(num_bytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    # Operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        operator = self._operators.of(func)
        if operator.invisible:
            return func(*args, **kwargs)
        if operator.composite:
            with self:
                return func._op_dk(COMPOSITE, *args, **kwargs)
        result = func(*args, **kwargs)
        home = self._home()
        if not operator.is_view:
            self._add(home, func, operator, args, kwargs, result)
        return result

    def _add(
        self, home: Segment, func: Any, operator: Operator, args: Any, kwargs: Mapping[str, Any], result: Any
    ) -> None:
        given, results = tensors_of((*args, *kwargs.values())), tensors_of(result)
        if not (given or results):
            return
        for tensor in given:
            self.storages.of(tensor)
        if not operator.written and results and all(self.storages.is_known(tensor) for tensor in results):
            return  # a view that its schema does not call one
        for tensor in results:
            self.storages.take(tensor, self._role_of_new(tensor))
        moved = traffic(operator, args, kwargs, given, results)
        if operator.kind == "unknown":
            self._unknown_at(home, operator.name)
        elif not moved.written and not moved.read and not operator.counted:
            return
        vector = operator.flops_per_element and operator.flops_per_element * elements(operator, args, given, results)
        counted = self._operators.flops(func, args, kwargs, result) if operator.counted else 0
        numbers = self._numbers(counted, vector, given, moved)
        first = results[0] if results else given[0]
        kind = "move" if operator.kind == "unknown" else operator.kind
        op = Op(operator.name, kind, dtype_of(first.dtype), tuple(first.shape), numbers)
        if self._backward_from is not None:
            op.backward_numbers, op.numbers = op.numbers, NOTHING
        home.items.append(op)
        self._wrote(op, operator, moved)

    def _numbers(self, counted: int, vector: int, given: Sequence[torch.Tensor], moved: Traffic) -> Numbers:
        """A `Cost`'s quantities: FLOPs by the dtype of the first tensor, bytes by whose memory it is."""
        on_tensor_cores = bool(given) and dtype_of(given[0].dtype).on_tensor_cores
        tensor, cuda = (counted, vector) if on_tensor_cores else (0, counted + vector)
        read = {"weight": 0, "activation": 0, "kv": 0}
        written = {"weight": 0, "activation": 0, "kv": 0}
        for x, size in moved.read:
            read[self.storages.of(x).role] += size
        for x, size in moved.written:
            written[self.storages.of(x).role] += size
        # A buffer written (a running mean) leaves the chip like an activation.
        activation = written["activation"] + written["weight"]
        return (tensor, cuda, counted, read["weight"], read["activation"], activation, read["kv"], written["kv"])

    def _wrote(self, op: Op, operator: Operator, moved: Traffic) -> None:
        """Remember who wrote an activation: should it become cache, that was a write to the cache."""
        for x, size in moved.written:
            known = self.storages.of(x)
            if known.role == "activation" and self._backward_from is None:
                known.writes.append((op, size))
            if operator.written and not operator.in_place:
                self.storages.resized(x)

    def _home(self) -> Segment:
        """The module at work; in backward the one whose forward asked for it, unless a forward is run again there."""
        if self.open is not self._backward_from:
            if self._grad:
                self._forward_of.setdefault(torch._C._autograd._get_sequence_nr() - 1, self.open)
            return self.open
        node: Any = torch._C._current_autograd_node()  # typed as if there always were one
        return self.root if node is None else self._forward_of.get(node._sequence_nr(), self.root)

    def _unknown_at(self, home: Segment, name: str) -> None:
        path = home.layer.path if isinstance(home.layer, RealModule) else ""
        self._unknown[path, name] = self._unknown.get((path, name), 0) + 1

    def unpriced(self) -> tuple[Unpriced, ...]:
        """Operators without a declared price."""
        return tuple(Unpriced(name, path, calls) for (path, name), calls in self._unknown.items())

    def run_backward(self, result: Any) -> None:
        """Gradients of every output that has one, as of their sum."""
        self._backward_from = self.open
        run_backward(result)


def _owners(module: nn.Module, rename: Rename) -> dict[int, RealModule]:
    """Each module's path; where several are listed under one (a list of experts), it has all of them."""
    listed: dict[str, list[nn.Module]] = {}
    for name, child in module.named_modules():
        listed.setdefault(rename(name), []).append(child)
    owners: dict[int, RealModule] = {}
    for path, children in listed.items():
        owner = RealModule(path, children[0] if len(children) == 1 else nn.ModuleList(children))
        owners |= {id(child): owner for child in children}
    return owners
