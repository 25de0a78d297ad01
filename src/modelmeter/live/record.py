"""`record`: run a real module and read what it ran into the `Trace` that a twin gives."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from modelmeter.core.op import NOTHING, Numbers, Op
from modelmeter.core.recorder import CALLED, Segment
from modelmeter.core.tensor import Role
from modelmeter.core.trace import Trace, Unpriced
from modelmeter.live.aten import Operator, Operators, Traffic, elements, tensors_of, traffic
from modelmeter.live.caches import cached_tensors, watched_updates
from modelmeter.live.dtypes import dtype_of
from modelmeter.live.storages import Storages

Rename = Callable[[str], str]
"""A real module's path -> the path it is listed under; its parent's, to be part of that."""


def record(
    module: nn.Module,
    *args: Any,
    backward: bool = False,
    rename: Rename = str,
    **kwargs: Any,
) -> Trace:
    """Run `module(*args, **kwargs)` on meta, CPU or CUDA and return what ran, as a twin's trace.

    Weights and buffers are those of `module`; a transformers cache among the arguments, or made inside, is the KV
    cache; all else is activations, the inputs included. With `backward`, gradients of the output's sum are run too and
    are the operators' backward cost. An operator without a declared price is in `trace.unpriced`: its bytes count, its
    FLOPs do not. Peaks are those of the whole run.
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
    recording = Recording(module, inputs)
    with ExitStack() as stack:
        stack.enter_context(torch.set_grad_enabled(backward))
        stack.enter_context(recording.hooked(module, rename))
        stack.enter_context(watched_updates(recording.writing_cache))
        if backward:
            stack.enter_context(recording.saving())
        stack.enter_context(recording)
        if at is not None:
            path = next(name for name, child in module.named_modules() if child is at)
            stack.enter_context(recording.inside(RealModule(rename(path), at)))
        result = call()
        if backward:
            recording.run_backward(result)
    recording.ended = True
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

    def __init__(self, module: nn.Module, inputs: Any) -> None:
        super().__init__()
        self.root = self.open = Segment(RealModule("", module), plain=True)
        self.ended = False
        self.storages = Storages(self._note)
        self.storages.resident([*module.parameters(), *module.buffers()], "weight")
        self.storages.resident(cached_tensors(inputs), "kv")
        for tensor in _inputs(inputs):
            self.storages.role(tensor)
        self._operators = Operators()
        self._unknown: dict[tuple[str, str], int] = {}
        self._into_cache = 0
        self._forward_of: dict[int, Segment] = {}
        self._in_backward = False
        self._stack: list[Segment] = []

    # Modules

    @contextmanager
    def hooked(self, module: nn.Module, rename: Rename) -> Iterator[None]:
        """Every call of `module` and of what is in it opens a segment and closes it."""
        with ExitStack() as stack:
            for name, child in module.named_modules():
                owner = RealModule(rename(name), child)
                enter = child.register_forward_pre_hook(self._enter(owner), prepend=True)
                leave = child.register_forward_hook(self._leave, always_call=True)
                stack.callback(enter.remove)
                stack.callback(leave.remove)
            yield

    @contextmanager
    def inside(self, owner: RealModule) -> Iterator[None]:
        """What runs here belongs to `owner`."""
        self._enter(owner)()
        yield
        self._leave()

    def _enter(self, owner: RealModule) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            segment = Segment(owner, plain=True)
            self.open.items.append(segment)
            self.open.events.append((CALLED, segment))
            self._stack.append(self.open)
            self.open = segment

        return enter

    def _leave(self, *_: Any) -> None:
        self.open = self._stack.pop()

    # Memory

    def _note(self, event: tuple[int, Any]) -> None:
        if not self.ended:
            self.open.events.append(event)

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
            self.storages.becomes_cache(tensor)

    @contextmanager
    def saving(self) -> Iterator[None]:
        """Tensors that autograd keeps are the open segment's, each storage once; weights and cache are there anyway."""
        kept: dict[int, torch.UntypedStorage] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if id(storage) not in kept and self.storages.role(tensor) == "activation":
                kept[id(storage)] = storage
                self.open.saved.append(storage.nbytes())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            yield

    # Operators

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace in ("prim", "profiler"):
            return func(*args, **kwargs)
        operator = self._operators.of(func)
        if not operator.counted and func.has_kernel_for_dispatch_key(torch.DispatchKey.CompositeImplicitAutograd):
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        result = func(*args, **kwargs)
        self._add(func, operator, args, kwargs, result)
        return result

    def _add(self, func: Any, operator: Operator, args: Any, kwargs: Mapping[str, Any], result: Any) -> None:
        given, results = tensors_of((*args, *kwargs.values())), tensors_of(result)
        if operator.is_view or not (given or results):
            return
        for tensor in given:
            self.storages.role(tensor)
        if not operator.written and results and all(self.storages.is_known(tensor) for tensor in results):
            return  # a view that its schema does not call one
        role: Role = "kv" if self._into_cache else "activation"
        for tensor in results:
            if not self.storages.is_known(tensor):
                self.storages.take(tensor, role)
        moved = traffic(operator, args, dict(kwargs), results)
        if operator.kind == "unknown":
            self._unknown_at(self._home(), operator.packet)
        elif not moved.written and not moved.read and not operator.counted:
            return
        numbers = self._price(func, operator, args, dict(kwargs), result, moved)
        first = results[0] if results else given[0]
        kind = "move" if operator.kind == "unknown" else operator.kind
        op = Op(operator.name, kind, dtype_of(first.dtype), tuple(first.shape), numbers)
        self._place(op)

    def _price(
        self, func: Any, operator: Operator, args: Any, kwargs: dict[str, Any], result: Any, moved: Traffic
    ) -> Numbers:
        given, results = tensors_of((*args, *kwargs.values())), tensors_of(result)
        counted = self._operators.flops(func, args, kwargs, result) if operator.counted else 0
        vector = operator.flops_per_element * elements(operator, given, results) if not operator.counted else 0
        on_tensor_cores = bool(given) and dtype_of(given[0].dtype).on_tensor_cores
        tensor, cuda = (counted, vector) if on_tensor_cores else (0, counted + vector)
        read = {"weight": 0, "activation": 0, "kv": 0}
        written = {"weight": 0, "activation": 0, "kv": 0}
        for x, size in moved.read:
            read[self.storages.role(x)] += size
        for x, size in moved.written:
            written[self.storages.role(x)] += size
        # A buffer written (a running mean) leaves the chip like an activation.
        activation = written["activation"] + written["weight"]
        return (tensor, cuda, counted, read["weight"], read["activation"], activation, read["kv"], written["kv"])

    def _home(self) -> Segment:
        """The module at work; in backward the one whose forward asked for it."""
        if not self._in_backward:
            return self.open
        node = torch._C._current_autograd_node()
        return self.root if node is None else self._forward_of.get(node._sequence_nr(), self.root)

    def _place(self, op: Op) -> None:
        home = self._home()
        home.items.append(op)
        if self._in_backward:
            op.backward_numbers, op.numbers = op.numbers, NOTHING
        elif torch.is_grad_enabled():
            self._forward_of[torch._C._autograd._get_sequence_nr() - 1] = home

    def _unknown_at(self, home: Segment, name: str) -> None:
        path = home.layer.path if isinstance(home.layer, RealModule) else ""
        self._unknown[path, name] = self._unknown.get((path, name), 0) + 1

    def unpriced(self) -> tuple[Unpriced, ...]:
        """Operators without a declared price."""
        return tuple(Unpriced(name, path, calls) for (path, name), calls in self._unknown.items())

    # Backward

    def run_backward(self, result: Any) -> None:
        """Gradients of every floating-point output, as of their sum."""
        outputs = [x for x in tensors_of(_values(result)) if x.requires_grad]
        self._in_backward = True
        torch.autograd.backward(outputs, [torch.ones_like(x) for x in outputs])
        self._in_backward = False


def _values(result: Any) -> Any:
    """A model's output as a tuple."""
    return tuple(result.values()) if isinstance(result, dict) else result


def _inputs(value: Any) -> list[torch.Tensor]:
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in _inputs(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _inputs(item)]
    return tensors_of(value)
