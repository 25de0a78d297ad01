"""What a sweep may vary: each dimension by name, and how its values are read."""

import operator
import re
from collections.abc import Callable, Iterable
from typing import Any, Final, Literal, TypeAlias

import attrs
import numpy as np

from modelmeter.core.dims import as_dim
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import WEIGHT_KINDS, Precision
from modelmeter.hardware.catalogue import get_device
from modelmeter.hardware.device import Device
from modelmeter.hardware.machine import EXECUTIONS
from modelmeter.models.deepseek_ocr.config import Conventions, DecoderConfig
from modelmeter.models.deepseek_ocr.views import MODES

Role: TypeAlias = Literal["size", "view", "model", "machine"]
"""A size is an array in one recording; a view plan and a model are recorded apart; a machine times what is recorded."""


@attrs.frozen(kw_only=True)
class Axis:
    """One dimension of a sweep: its `values`, and their `labels` as a coordinate. `fixed`: one value, no dimension."""

    name: str
    role: Role
    values: Any
    labels: np.ndarray
    long_name: str
    fixed: bool = False

    def __len__(self) -> int:
        return len(self.values)

    def part(self, where: slice) -> "Axis":
        """Some of the values."""
        return attrs.evolve(self, values=self.values[where], labels=self.labels[where])


@attrs.frozen
class Dimension:
    """A name that may vary: how a value is read, and what it is called in full."""

    role: Role
    long_name: str
    read: Callable[[Any], Any]
    label: Callable[[Any], Any] = str


def _size(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        try:
            return int(as_dim(operator.index(value), "it", least=least))
        except TypeError as error:
            raise ModelMeterError(f"{value!r} is not a whole number") from error

    return read


def _pair(value: Any) -> tuple[int, int]:
    """(w, h) of "WxH" or of a pair."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", value)
        if found is None:
            raise ModelMeterError(f"{value!r} is not WIDTHxHEIGHT, such as 1654x2339")
        return int(found[1]), int(found[2])
    if not isinstance(value, tuple | list | np.ndarray) or len(value) != 2:
        raise ModelMeterError(f"{value!r} is not WIDTHxHEIGHT, nor a pair of them")
    width, height = value
    return _size(1)(width), _size(1)(height)


def _of(*allowed: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in allowed:
            raise ModelMeterError(f"{value!r} is unknown: choose among {', '.join(allowed)}")
        return str(value)

    return read


def _precision(value: Any) -> Precision:
    if isinstance(value, Precision):
        return value
    return Precision(weights=_of(*WEIGHT_KINDS)(value))  # type: ignore[arg-type]


def _device_name(device: Device) -> str:
    return device.name


def _as_given(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _precision_label(value: Precision) -> str:
    named = [f"{name} {kind}" for name, kind in (("activations", value.activations), ("kv", value.kv)) if kind]
    parts = "" if value.parts == ("decoder",) else f" in {'+'.join(value.parts)}"
    return ", ".join([f"{value.weights}{parts}", *named])


def _pair_label(value: tuple[int, int]) -> str:
    return f"{value[0]}x{value[1]}"


def _itself(value: Any) -> Any:
    return value


SIZES: Final = {
    "batch_size": Dimension("size", "pages or sequences at once", _size(1), _itself),
    "context_len": Dimension("size", "tokens of the prompt, image tokens included", _size(1), _itself),
    "prompt_tokens": Dimension("size", "tokens of text beside the image", _size(0), _itself),
    "cache_len": Dimension("size", "tokens that the decode step finds in the cache", _size(1), _itself),
    "decode_tokens": Dimension("size", "decode steps", _size(1), _itself),
}
VIEWS: Final = {
    "page": Dimension("view", "size of the page in pixels, width x height", _pair, _pair_label),
    "width": Dimension("view", "width of the page in pixels", _size(1), _itself),
    "height": Dimension("view", "height of the page in pixels", _size(1), _itself),
    "mode": Dimension("view", "mode of the views", _of(*MODES)),
    "grid": Dimension("view", "grid of tiles, width x height; 1x1 has none", _pair, _pair_label),
    "max_tiles": Dimension("view", "largest number of tiles", _size(2), _itself),
    "base_size": Dimension("view", "side of the global view in pixels", _size(1), _itself),
    "tile_size": Dimension("view", "side of a tile in pixels", _size(1), _itself),
}
CONVENTIONS: Final = {
    field.name: Dimension("model", f"convention: {field.name}", _as_given) for field in attrs.fields(Conventions)
}
PARAMETERS: Final = {
    field.name: Dimension("model", f"decoder: {field.name}", _size(0), _itself)
    for field in attrs.fields(DecoderConfig)
    if field.type is int
} | {"window_size": Dimension("model", "side of SAM's windows in patches", _size(0), _itself)}
PRECISION: Final = {
    "precision": Dimension("model", "precision of weights, activations and KV cache", _precision, _precision_label)
}
MACHINES: Final = {
    "device": Dimension("machine", "device", get_device, _device_name),
    "execution": Dimension("machine", "how kernels are launched", _of(*EXECUTIONS)),
}
DIMENSIONS: Final = {**SIZES, **VIEWS, **CONVENTIONS, **PARAMETERS, **PRECISION, **MACHINES}


def read_axis(name: str, given: Any) -> Axis:
    """The axis `name` of what a user gives: several values, or one, which is then no dimension.

    Raises `ModelMeterError` for an unknown name, no values, a value that cannot be, or one given twice.
    """
    if name not in DIMENSIONS:
        raise ModelMeterError(f"sweep: unknown dimension {name!r}: choose among {', '.join(DIMENSIONS)}")
    dimension = DIMENSIONS[name]
    fixed = _is_one(given)
    values = [given] if fixed else list(given)
    if not values:
        raise ModelMeterError(f"sweep: {name} has no values: give one or more")
    if dimension.role == "size" and len(values) > 1:
        read: Any = _sizes(name, given, dimension)
    else:
        try:
            read = [dimension.read(value) for value in values]
        except ModelMeterError as error:
            raise ModelMeterError(f"sweep: {name}: {error}") from error
    labels = np.array([dimension.label(value) for value in read]) if not isinstance(read, np.ndarray) else read
    if len(set(labels.tolist())) != len(labels):
        raise ModelMeterError(f"sweep: {name} has the same value twice: give each once")
    return Axis(name=name, role=dimension.role, values=read, labels=labels, long_name=dimension.long_name, fixed=fixed)


def _is_one(given: Any) -> bool:
    """Whether a user gave one value and no collection of them."""
    return (
        isinstance(given, str) or not isinstance(given, Iterable) or (isinstance(given, np.ndarray) and given.ndim == 0)
    )


def _sizes(name: str, given: Any, dimension: Dimension) -> np.ndarray:
    """Many sizes at once."""
    values = as_dim(np.asarray(list(given) if not isinstance(given, np.ndarray) else given), f"sweep: {name}", least=0)
    if values.ndim != 1:
        raise ModelMeterError(f"sweep: {name} has {values.ndim} axes: give a list of sizes, one axis each dimension")
    if values.dtype == object:
        raise ModelMeterError(f"sweep: {name} holds sizes beyond 2**63: give smaller ones")
    dimension.read(int(values.min()))
    return values
