"""Our layers recorded on chosen inputs, where a layer has no default ones or a test wants others."""

from collections.abc import Callable
from typing import Any

from modelmeter import Layer, Trace
from modelmeter.core.recorder import Recorder, RecordOptions, record
from modelmeter.core.tensor import BF16, DType, Tensor


def trace_call(layer: Layer, inputs: Callable[[Recorder], tuple[Any, ...]], *, elementwise: bool = True) -> Trace:
    """The operators of `layer(*inputs(recorder))`."""
    return Trace(record(lambda recorder: layer(*inputs(recorder)), RecordOptions(elementwise=elementwise)))


def tensors(*shapes: tuple[int, ...], dtype: DType = BF16) -> Callable[[Recorder], tuple[Tensor, ...]]:
    """Inputs of these shapes, for `trace_call`."""
    return lambda recorder: tuple(recorder.take(shape, dtype) for shape in shapes)
