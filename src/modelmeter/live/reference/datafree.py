"""Running code that looks at data where there is none: on meta, and on fake tensors.

Routing, placeholder masks and lengths are then real tensors on the CPU beside a model without data. Three rules make
the two live together, below the recording, which sees the operators as the model calls them.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_map

from modelmeter.live.recording.aten import tensors_of
from modelmeter.live.recording.storages import has_data

aten = torch.ops.aten


_WITHOUT_DATA = (aten.empty.memory_format, aten.empty_strided.default)


class DataFree(TorchDispatchMode):
    """Lets operators mix tensors with and without data.

    All with data, or a table of numbers (arange, zeros): run as they are. Some without: those with data join as if they
    had none (a boolean mask as the indices it stands for). A single number asked of a tensor without data is 1: "there
    is an image", the only such question of the models read here.
    """

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tensors_of((*args, *kwargs.values()))
        empty = [tensor for tensor in given if not has_data(tensor)]
        if not empty and func not in _WITHOUT_DATA:
            with _disable_current_modes():
                return func(*args, **kwargs)
        if func is aten._local_scalar_dense.default:
            return 1
        if len(empty) < len(given):
            if func in (aten.index.Tensor, aten.index_put_.default):
                args = (args[0], [_as_indices(index) for index in args[1]], *args[2:])
            like = empty[0]
            args, kwargs = tree_map(lambda x: _without_data(x, like), (args, kwargs))
        return func(*args, **kwargs)


def _without_data(x: Any, like: torch.Tensor) -> Any:
    """A tensor with data as one without, of the kind of `like`."""
    if not isinstance(x, torch.Tensor) or not has_data(x):
        return x
    if isinstance(like, FakeTensor):
        return like.fake_mode.from_tensor(x)
    return torch.empty_strided(x.shape, x.stride(), dtype=x.dtype, device=like.device)


def _as_indices(index: Any) -> Any:
    if not isinstance(index, torch.Tensor) or index.dtype is not torch.bool or not has_data(index):
        return index
    with _disable_current_modes():
        return index.nonzero().squeeze(-1)


def balanced_experts(tokens: int, top_k: int, num_experts: int) -> torch.Tensor:
    """Expert indices [tokens k] on the CPU: all experts in turn, so that min(E, k * tokens) are reached."""
    with _disable_current_modes():
        return (torch.arange(tokens * top_k) % num_experts).view(tokens, top_k)


@contextmanager
def outputs_replaced(modules: list[nn.Module], replace: Callable[[nn.Module, Any], Any]) -> Iterator[None]:
    """While this runs, each of `modules` gives `replace(module, output)`."""
    handles = [module.register_forward_hook(lambda module, _, output: replace(module, output)) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
