"""The shapes that modules are called with and give back, seen by hooks that look at nothing else."""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, TypeAlias

import attrs
import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

NamedShape: TypeAlias = tuple[str, tuple[int, ...]]
"""A tensor among the arguments or results: its name, a place inside it after dots ("0.1"), and its shape."""


@attrs.frozen
class CallShapes:
    """The tensors of one call: those given and those returned."""

    inputs: tuple[NamedShape, ...]
    outputs: tuple[NamedShape, ...]


@attrs.define
class SeenShapes:
    """Path -> the shapes of its calls, each once, with how many calls had them."""

    by_path: dict[str, dict[CallShapes, int]] = attrs.Factory(dict)

    def add(self, path: str, shapes: CallShapes) -> None:
        """Another call."""
        calls = self.by_path.setdefault(path, {})
        calls[shapes] = calls.get(shapes, 0) + 1

    def take(self) -> dict[str, dict[CallShapes, int]]:
        """What was seen since the last time."""
        taken, self.by_path = self.by_path, {}
        return taken


@contextmanager
def shapes_seen(model: nn.Module, rename: Callable[[str], str]) -> Iterator[SeenShapes]:
    """While this runs, every call of a module of `model` leaves its shapes. Tensors are not kept.

    A module inside another that is listed under the same path is part of that. The hooks are global, as those of the
    recording: torch's fast paths look for a module's own and would take another way.
    """
    seen, open_paths = SeenShapes(), list[str]()
    paths = {id(module): rename(name) for name, module in model.named_modules()}

    def enter(module: nn.Module, _: Any) -> None:
        if id(module) in paths:
            open_paths.append(paths[id(module)])

    def leave(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if id(module) not in paths:
            return
        path = open_paths.pop()
        if not open_paths or open_paths[-1] != path:
            seen.add(path, CallShapes(tuple(_inputs(module, args, kwargs)), tuple(_shapes("", output))))

    before = register_module_forward_pre_hook(enter)
    after = register_module_forward_hook(leave, with_kwargs=True, always_call=True)
    try:
        yield seen
    finally:
        before.remove()
        after.remove()


def _inputs(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[NamedShape]:
    """Tensors given by place, under the names that the forward has for them, then those given by name."""
    names = _argument_names(type(module).forward)
    for i, value in enumerate(args):
        yield from _shapes(names[i] if i < len(names) else str(i), value)
    for name, value in kwargs.items():
        yield from _shapes(name, value)


@lru_cache(maxsize=1024)
def _argument_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The names of what a class's forward takes by place."""
    by_place = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    return tuple(parameter.name for parameter in parameters if parameter.kind in by_place)


def _shapes(name: str, value: Any) -> Iterator[NamedShape]:
    """Tensors in nested tuples, lists and dicts; a cache is none of these."""
    if isinstance(value, torch.Tensor):
        yield name, tuple(value.shape)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _shapes(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _shapes(f"{name}.{i}" if name else str(i), item)
