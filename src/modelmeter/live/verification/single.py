"""One twin against one real module: `layer.verify_by_impl(module, *inputs)`."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from modelmeter.core.errors import ModelMeterError
from modelmeter.core.kv_cache import PastKV
from modelmeter.core.layer import Layer
from modelmeter.core.recorder import Recorder, RecordOptions
from modelmeter.core.recorder import record as record_twin
from modelmeter.core.tensor import Tensor
from modelmeter.core.trace import Trace
from modelmeter.live.recording.caches import cached_tensors
from modelmeter.live.recording.dtypes import dtype_of
from modelmeter.live.recording.record import record_call
from modelmeter.live.reference.datafree import DataFree
from modelmeter.live.verification.verify import Comparison, Point, compare
from modelmeter.nn.token import CachedLayer


def verify_layer(
    layer: Layer,
    module: nn.Module,
    *inputs: Any,
    twin_inputs: Iterable[Any] | None = None,
    backward: bool = False,
    **kwargs: Any,
) -> Comparison:
    """Run `module(*inputs, **kwargs)` and the twin on inputs of the same shapes; `.ok` says whether they agree.

    The twin's inputs are the tensors among the arguments, in order; those of a layer with a KV cache are found by their
    names (hidden_states, position_embeddings or position_ids, attention_mask, past_key_values). `twin_inputs` gives
    them where a twin's forward takes them otherwise. With `backward` the inputs' own requires_grad is kept. Raises
    `ModelMeterError` where the twin cannot take them.
    """
    if not isinstance(module, nn.Module):
        raise ModelMeterError(f"verify_by_impl() takes a torch.nn.Module, not {module!r}")
    given = tuple(twin_inputs) if twin_inputs is not None else _arguments_of(layer, inputs, kwargs)
    analytic = _twin_trace(layer, given, backward)  # before the real cache moves
    with DataFree():
        real = record_call(module, lambda: module(*inputs, **kwargs), (inputs, kwargs), backward=backward)
    return compare(real, analytic, Point(stage="layer", backward=backward), layer=layer)


def _twin_trace(layer: Layer, given: tuple[Any, ...], backward: bool) -> Trace:
    def run(recorder: Recorder) -> None:
        arguments = _as_twin(given, recorder.take)
        layer(*arguments)

    try:
        return Trace(record_twin(run, RecordOptions(grad=backward), plain=True))
    except (TypeError, ValueError) as error:
        shapes = ", ".join(_show(item) for item in given)
        raise ModelMeterError(
            f"{type(layer).__name__}.forward() cannot run on ({shapes}): {error}. "
            "Give its own inputs as twin_inputs=(...), in the order of its forward()"
        ) from error


def _as_twin(value: Any, take: Callable[..., Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return take(tuple(value.shape), dtype_of(value.dtype), needs_grad=value.requires_grad)
    return tuple(_as_twin(item, take) for item in value) if isinstance(value, (tuple, list)) else value


def _arguments_of(layer: Layer, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    if isinstance(layer, CachedLayer):
        return _step_of(layer, inputs, kwargs)
    return tuple(value for value in (*inputs, *kwargs.values()) if isinstance(value, torch.Tensor))


def _step_of(layer: CachedLayer, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """(hidden states, positions, mask, past) of a layer that attends to a cache."""
    hidden = kwargs.get("hidden_states", inputs[0] if inputs else None)
    positions = kwargs.get("position_embeddings") or kwargs.get("position_ids")
    if hidden is None or positions is None:
        raise ModelMeterError(
            f"verify_by_impl() of {type(layer).__name__} needs hidden_states and position_embeddings (or position_ids)"
        )
    held = cached_tensors(kwargs)
    cache = kwargs.get("past_key_values", kwargs.get("past_key_value"))
    length = held[0].shape[-2] if held else 0
    past = None if cache is None else PastKV(length=length, style=layer.cache_style)
    return hidden, positions, kwargs.get("attention_mask"), past


def _show(value: Any) -> str:
    return str(list(value.shape)) if isinstance(value, torch.Tensor) else repr(value)
