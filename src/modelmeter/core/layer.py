"""`Layer`: a twin of a real module. Its `forward` runs on tensors without data; what ran is its cost."""

from collections.abc import Callable, Iterator
from typing import Any, TypedDict, Unpack

import numpy as np

from modelmeter.core.dims import Dim, as_dim, check_sweep
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.evaluate import Run, evaluate, fold
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.metrics import Metrics
from modelmeter.core.parameter import Parameter
from modelmeter.core.recorder import CALLED, Recorder, RecordOptions, Segment, current
from modelmeter.core.tensor import BF16, INT64, DType, Storage, Tensor
from modelmeter.core.trace import Trace

MEMO_LIMIT = 256
"""Shapes remembered for a layer; beyond, its memo starts afresh."""


class InputSize(TypedDict, total=False):
    """Default input of a layer asked on its own: tokens a sequence, and sequences."""

    seq_len: Dim
    batch_size: Dim


class Layer(Metrics):
    """A module's twin: parameters and children are attributes, `forward` says what runs.

    Equal layers are one object listed several times; each listing counts its weights. Calling a layer (inside another's
    `forward`) records its operators, or repeats the recording of the same shapes. Asked on its own, a layer runs on
    `example_inputs` of its default size.
    """

    dtype: DType = BF16
    """The 16-bit float that it computes in."""
    seq_len: Dim
    batch_size: Dim
    _memo: dict[Any, tuple[Segment, Any]]
    _names: dict[int, list[str]] | None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> "Layer":
        layer = super().__new__(cls)
        layer.seq_len, layer.batch_size = 1, 1
        layer._memo, layer._names = {}, None
        return layer

    def __init__(self, **size: Unpack[InputSize]) -> None:
        self._resize(size.get("seq_len", 1), size.get("batch_size", 1))

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, (Layer, Parameter)) and vars(self).get("_memo"):
            raise ModelMeterError(f"{type(self).__name__} has been recorded: build a new one to change its {name}")
        super().__setattr__(name, value)

    def forward(self, *args: Any) -> Any:
        """What the real module's forward does, on tensors without data."""
        raise NotImplementedError(f"{type(self).__name__} needs a forward()")

    def example_inputs(self, recorder: Recorder, *sizes: Dim) -> tuple[Any, ...]:
        """Inputs of the default size, for a layer asked on its own."""
        raise ModelMeterError(f"{type(self).__name__} has no default input: call it inside another layer's forward()")

    def set_seq_len(self, seq_len: Dim) -> None:
        """Set the default input's tokens a sequence. Raises `ModelMeterError` unless positive."""
        self._resize(seq_len, self.batch_size)

    def set_batch_size(self, batch_size: Dim) -> None:
        """Set the default input's sequences. Raises `ModelMeterError` unless positive."""
        self._resize(self.seq_len, batch_size)

    def _resize(self, seq_len: Dim, batch_size: Dim) -> None:
        checked = as_dim(seq_len, "seq_len"), as_dim(batch_size, "batch_size")
        check_sweep(seq_len=checked[0], batch_size=checked[1])
        self.seq_len, self.batch_size = checked

    # Running

    def __call__(self, *args: Any) -> Any:
        recorder = current(f"{type(self).__name__}()")
        key = _key_of(args, recorder)
        memo = recorder.local_memo.setdefault(id(self), {}) if recorder.by_identity else self._memo
        found = memo.get(key)
        parent = recorder.open
        if found is None:
            segment = recorder.segment = Segment(self, plain=recorder.plain)
            out = self.forward(*args)
            recorder.segment = parent
            if len(memo) >= MEMO_LIMIT:
                memo.clear()
            memo[key] = (segment, _describe(out, args, recorder))
        else:
            segment, described = found
            out = _rebuild(described, args, recorder)
        parent.items.append(segment)
        parent.events.append((CALLED, segment))
        return out

    def trace(self, *, elementwise: bool = True, grad: bool = False, frozen_weights: bool = False) -> Trace:
        """The operators of one call on the default input; with `grad` priced for a backward pass too."""
        options = RecordOptions(grad=grad, weight_grads=not frozen_weights, elementwise=elementwise)
        return Trace(evaluate(self._runner(grad), self._sizes(), options))

    def trace_at(self, *sizes: Dim) -> Trace:
        """The operators of one call at other sizes than the default: those of `example_inputs`; symbols too."""
        return Trace(evaluate(self._runner(False), sizes, RecordOptions()))

    def _measure(
        self, read: Callable[[Segment], tuple[Dim, ...]], options: RecordOptions, input_grad: bool
    ) -> tuple[Dim, ...]:
        return fold(self._runner(input_grad), self._sizes(), options, read)

    def _sizes(self) -> tuple[Dim, ...]:
        """The sizes that `example_inputs` takes."""
        return (self.seq_len, self.batch_size)

    def _runner(self, input_grad: bool) -> Run:
        def run(recorder: Recorder, *sizes: Dim) -> None:
            inputs = self.example_inputs(recorder, *sizes)
            first = inputs[0]  # the others are tables, masks and indices
            if isinstance(first, Tensor):
                first.needs_grad = input_grad and first.dtype is not INT64
            self(*inputs)

        return run

    def verify_by_impl(self, module: Any, *inputs: Any, **kwargs: Any) -> Any:
        """Compare this twin with a real `torch.nn.Module` run on `inputs`: a `Comparison`, whose `ok` says it all.

        Keywords go to the module, but `twin_inputs` and `backward`: see `verify_layer` in modelmeter.live. Needs the
        extra `live`.
        """
        from modelmeter.live.verification.single import verify_layer

        return verify_layer(self, module, *inputs, **kwargs)

    # Structure

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """(path, parameter) of every weight, equal layers listed as often as they stand in the model."""
        for name, value in vars(self).items():
            if isinstance(value, Parameter):
                yield name, value
        for name, child in self.named_children():
            for path, parameter in child.named_parameters():
                yield f"{name}.{path}" if name else path, parameter

    def named_children(self) -> Iterator[tuple[str, "Layer"]]:
        """(name, layer) of each child; of a list, `name.0`, `name.1`, ... A name of "" adds nothing to the path."""
        for name, value in vars(self).items():
            if isinstance(value, Layer):
                yield name, value
            elif isinstance(value, (list, tuple)):
                for i, child in enumerate(value):
                    if isinstance(child, Layer):
                        yield f"{name}.{i}", child

    def path_of(self, child: "Layer", nth: int, path: str) -> str:
        """The path of the `nth` call of `child`, this layer's being `path`; equal layers answer in listed order."""
        names = self._child_names(child)
        name = names[nth % len(names)]
        return f"{path}.{name}" if path and name else path or name

    def _child_names(self, child: "Layer") -> list[str]:
        if self._names is None:
            self._names = {}
            for name, layer in self.named_children():
                self._names.setdefault(id(layer), []).append(name)
        if id(child) not in self._names:
            raise ModelMeterError(
                f"{type(self).__name__} called a {type(child).__name__} that is none of its attributes: "
                "hold layers as attributes, or in a list or tuple that is one"
            )
        return self._names[id(child)]

    def parameter_count(self) -> int:
        """Number of weights, each listed layer's counted."""
        return sum(n * p.numel for p, n in self._parameters().items())

    def parameter_bytes(self) -> int:
        """Bytes of weights resident as they are stored, each listed layer's counted."""
        return sum(n * p.nbytes for p, n in self._parameters().items())

    def _parameters(self) -> dict[Parameter, int]:
        """Each parameter object and how often it is listed; tied ones are counted where they live."""
        times: dict[Parameter, int] = {}
        for value in vars(self).values():
            if isinstance(value, Parameter) and not value.tied:
                times[value] = times.get(value, 0) + 1
        listed: dict[Layer, int] = {}
        for _, child in self.named_children():
            listed[child] = listed.get(child, 0) + 1
        for child, n in listed.items():
            for parameter, m in child._parameters().items():
                times[parameter] = times.get(parameter, 0) + n * m
        return times

    def kv_cache_bytes(self) -> Dim:
        """Bytes of KV cache held by this layer; 0 for a layer without attention over a cache."""
        return 0


def _key_of(args: tuple[Any, ...], recorder: Recorder) -> Any:
    options = recorder.options
    return (
        options.grad,
        options.weight_grads,
        options.elementwise,
        recorder.muted > 0,
        _hashable(recorder.rounds),
        *[_key(arg, recorder.by_identity) for arg in args],
    )


def _key(arg: Any, by_identity: bool) -> Any:
    if isinstance(arg, Tensor):
        shape = tuple([_hashable(dim) for dim in arg.shape]) if by_identity else arg.shape
        saved = arg.storage is not None and arg.storage.saved
        return (shape, arg.dtype.name, arg.role, arg.needs_grad, saved)
    if isinstance(arg, tuple):
        return tuple([_key(item, by_identity) for item in arg])
    if isinstance(arg, PastKV):
        return tuple([_hashable(item) for item in arg.memo_key])
    return _hashable(arg)


def _hashable(dim: Any) -> Any:
    """Arrays by identity: a recording by identity keeps its tensors' shapes in its memo, so no id is used twice."""
    return id(dim) if isinstance(dim, np.ndarray) else dim


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [x for item in value for x in _tensors(item)] if isinstance(value, tuple) else []


def _describe(out: Any, args: tuple[Any, ...], recorder: Recorder) -> tuple[Any, ...]:
    """What a repeated call needs to give the same outputs: shapes, which storage each lives in, and what was kept."""
    given = _tensors(args)
    storages = [x.storage for x in given]
    fresh: list[Any] = []
    described: list[Any] = []
    for x in out if isinstance(out, tuple) else (out,):
        if x is None:
            described.append(None)
            continue
        if x.storage is None or x.storage in storages:
            home: Any = None if x.storage is None else storages.index(x.storage)
        else:
            if x.storage not in fresh:
                fresh.append(x.storage)
            home = ("new", fresh.index(x.storage))
        described.append((x.shape, x.dtype, x.role, x.needs_grad, home))
    kept = tuple(i for i, x in enumerate(given) if x.storage is not None and x.storage.saved)
    new = tuple((storage.held(), storage.saved) for storage in fresh)
    return (isinstance(out, tuple), described, new, kept, [x.shape for x in given] if recorder.by_identity else None)


def _rebuild(described: tuple[Any, ...], args: tuple[Any, ...], recorder: Recorder) -> Any:
    several, tensors, new, kept, _ = described
    given = _tensors(args)
    for i in kept:
        storage = given[i].storage
        if storage is not None:
            storage.saved = True
    fresh = []
    for nbytes, saved in new:
        storage = Storage(recorder, nbytes)
        storage.saved = saved
        fresh.append(storage)
    out: list[Tensor | None] = []
    for item in tensors:
        if item is None:
            out.append(None)
            continue
        shape, dtype, role, needs_grad, home = item
        storage = None if home is None else fresh[home[1]] if isinstance(home, tuple) else given[home].storage
        out.append(Tensor(shape, dtype, role, storage, needs_grad))
    return tuple(out) if several else out[0]
