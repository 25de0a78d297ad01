"""transformers' KV caches: what they hold, and when they are written. Without transformers there are none."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import wraps
from typing import Any

import torch

Writing = Callable[[], AbstractContextManager[Callable[[Any], None]]]


def _cache_classes() -> list[type]:
    """Every cache class that exists and defines `update` itself."""
    utils = sys.modules.get("transformers.cache_utils")
    if utils is None:
        return []
    found, todo = [], [utils.Cache]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        if "update" in vars(kind):
            found.append(kind)
    return found


@contextmanager
def watched_updates(writing: Writing) -> Iterator[None]:
    """While this runs, every cache's `update` happens inside `writing()`, which hears what the cache then holds."""

    def watched(update: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(update)
        def call(*args: Any, **kwargs: Any) -> Any:
            with writing() as keep:
                held = update(*args, **kwargs)
                keep(held)
            return held

        return call

    with ExitStack() as stack:
        for kind in _cache_classes():
            before = vars(kind)["update"]
            kind.update = watched(before)  # type: ignore[attr-defined]
            stack.callback(setattr, kind, "update", before)
        yield


def cached_tensors(value: Any) -> list[torch.Tensor]:
    """Keys and values of every cache in the arguments (tuples, lists and dicts are searched)."""
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in cached_tensors(item)]
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in cached_tensors(item)]
    utils = sys.modules.get("transformers.cache_utils")
    if utils is None or not isinstance(value, utils.Cache):
        return []
    if "self_attention_cache" in vars(value):  # an encoder and decoder's
        return cached_tensors([value.self_attention_cache, value.cross_attention_cache])
    if "layers" in vars(value):  # transformers 5
        pairs = [pair for layer in value.layers if layer.is_initialized for pair in _parts(layer)]
    else:
        pairs = list(zip(value.key_cache, value.value_cache, strict=True))
    return [tensor for pair in pairs for tensor in pair if isinstance(tensor, torch.Tensor)]


def _parts(layer: Any) -> list[tuple[Any, Any]]:
    """Keys and values of one layer's cache; a reference-sliding one holds the prefill's beside the window's."""
    held = vars(layer)
    prefill = [(held["prefill_keys"], held["prefill_values"])] if "prefill_keys" in held else []
    return [(layer.keys, layer.values), *prefill]
