"""The backward pass of a real module: what it starts from, and what it leaves as it was."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from modelmeter.core.errors import ModelMeterError


def nested_tensors(value: Any) -> list[torch.Tensor]:
    """All tensors in arguments or outputs: tuples, lists, mappings and dataclasses are searched."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [tensor for item in value.values() for tensor in nested_tensors(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in nested_tensors(item)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [tensor for name in vars(value) for tensor in nested_tensors(vars(value)[name])]
    return []


def run_backward(result: Any) -> None:
    """Gradients of every output that has one, as of their sum. Raises where there is none."""
    outputs = [tensor for tensor in nested_tensors(result) if tensor.requires_grad]
    if not outputs:
        raise ModelMeterError(
            "record(..., backward=True) needs an output with a gradient: no weight or input requires one, the outputs "
            "hold no tensor, or it runs under torch.inference_mode(); leave backward out"
        )
    torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])


@contextmanager
def gradients_kept(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """While this runs, `tensors` have no gradients; afterwards those they had."""
    before = [(tensor, tensor.grad) for tensor in tensors if tensor.is_leaf and tensor.requires_grad]
    for tensor, _ in before:
        tensor.grad = None
    try:
        yield
    finally:
        for tensor, grad in before:
            tensor.grad = grad
