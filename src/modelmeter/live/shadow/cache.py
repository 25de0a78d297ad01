"""What a decoder layer's cache holds, read from its tensors' shapes: plain dynamic caches of transformers 4 and 5."""

from collections.abc import Sequence
from typing import Any, Final

from modelmeter.core.errors import ModelMeterError

_HAS_LAYERS: Final[dict[type, bool]] = {}
"""Cache classes that were looked at, and whether they hold layers, as in transformers 5, or lists of tensors."""
_PLAIN: Final[set[type]] = set()
"""Classes of layers that were looked at and keep every key."""


def cached_keys(cache: Any, layer_idx: int) -> Sequence[int]:
    """[b heads kv d]: the shape of the keys that a layer holds.

    Raises `ModelMeterError` for a cache that is not a plain dynamic one: a window, a block kept for the longest
    sequence, or quantised keys are priced otherwise.
    """
    kind = type(cache)
    if kind not in _HAS_LAYERS:
        _check(kind)
        _HAS_LAYERS[kind] = "layers" in vars(cache)
    shape: Sequence[int]
    if not _HAS_LAYERS[kind]:
        shape = cache.key_cache[layer_idx].shape
        return shape
    layer = cache.layers[layer_idx]
    if type(layer) not in _PLAIN:
        _check(type(layer))
        _PLAIN.add(type(layer))
    shape = layer.keys.shape
    return shape


def _check(kind: type) -> None:
    """Raise unless the class is one of the plain ones, by its name: transformers 4 and 5 have others."""
    if kind.__name__ not in ("DynamicCache", "DynamicLayer"):
        raise ModelMeterError(
            f"hooked() found a KV cache of {kind.__name__}, whose cost is not the analytic model's: "
            "run with transformers' DynamicCache and full attention"
        )
