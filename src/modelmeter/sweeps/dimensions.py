"""What a sweep may vary: each dimension by name, and how its values are read."""

import operator
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias, runtime_checkable

import attrs
import numpy as np

from modelmeter.core.dims import INT64_LIMIT
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


@runtime_checkable
class _ArrayLike(Protocol):
    """What NumPy reads as an array: a scalar or array of its own, a pandas series or index, a labelled array."""

    def __array__(self) -> np.ndarray: ...


def _size(least: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool | np.bool_):
            raise ModelMeterError(f"{value!r} is not a whole number")
        try:
            whole = operator.index(value)
        except TypeError as error:
            raise ModelMeterError(f"{value!r} is not a whole number") from error
        if abs(whole) >= INT64_LIMIT:
            raise ModelMeterError("a size is beyond 2**63: give a smaller one")
        if whole < least:
            raise ModelMeterError(f"{whole} is too small: give {least} or more")
        return whole

    return read


_side = _size(1)


def _pair(value: Any) -> tuple[int, int]:
    """(w, h) of "WxH" or of a pair."""
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]{1,18})\s*[xX×]\s*([0-9]{1,18})\s*", value)
        if found is None:
            raise ModelMeterError(f"{value[:40]!r} is not WIDTHxHEIGHT, such as 2x3")
        return _side(int(found[1])), _side(int(found[2]))
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise ModelMeterError(f"{value!r} is not WIDTHxHEIGHT, nor a pair of them: give a list of such, [(2, 3)]")
    width, height = value
    return _side(width), _side(height)


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


def _device(value: Any) -> Device:
    if not isinstance(value, str | Path | Device):
        raise ModelMeterError(f"a {type(value).__name__} is no device: give a name, a device file or a Device")
    return get_device(value)


def _device_name(device: Device) -> str:
    return device.name


def _convention(value: Any) -> Any:
    """Text, a number or a truth value; whether it is one of the convention's is checked where the model is built."""
    if not isinstance(value, str | bool | int | float):
        raise ModelMeterError(f"{value!r} is none of its values: give text, a number, True or False")
    return value


def _precision_label(value: Precision) -> str:
    named = [f"{name} {kind}" for name, kind in (("activations", value.activations), ("kv", value.kv)) if kind]
    parts = "" if value.parts == ("decoder",) else f" in {'+'.join(value.parts)}"
    groups = f", groups of {value.group_size}" if value.group_size != Precision().group_size else ""
    return ", ".join([f"{value.weights}{parts}{groups}", *named])


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
    field.name: Dimension("model", f"convention: {field.name}", _convention, _itself)
    for field in attrs.fields(Conventions)
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
    "device": Dimension("machine", "device", _device, _device_name),
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
    plain = np.asarray(given) if isinstance(given, _ArrayLike) else given
    fixed = np.ndim(plain) == 0 if isinstance(plain, np.ndarray) else not _is_several(plain)
    values: Any = [plain.item() if isinstance(plain, np.ndarray) else plain] if fixed else _as_list(plain)
    if len(values) == 0:
        raise ModelMeterError(f"sweep: {name} has no values: give one or more")
    try:
        if dimension.role == "size" and not fixed:
            read: Any = _sizes(values, dimension)
            labels = read
        else:
            read = [dimension.read(value) for value in values]
            labels = np.array([dimension.label(value) for value in read])
    except ModelMeterError as error:
        raise ModelMeterError(f"sweep: {name}: {error}") from error
    if len(set(labels.tolist())) != len(labels):
        raise ModelMeterError(f"sweep: {name} has the same value, or name of one, twice: give each once")
    return Axis(name=name, role=dimension.role, values=read, labels=labels, long_name=dimension.long_name, fixed=fixed)


def _is_several(given: Any) -> bool:
    """Whether a user gave a collection of values and not one."""
    return isinstance(given, Iterable) and not isinstance(given, str | bytes)


def _as_list(given: Any) -> Any:
    """A list of Python's own values; an array of whole numbers as it is."""
    if isinstance(given, np.ndarray):
        return given if given.dtype.kind in "iu" and given.ndim == 1 else given.tolist()
    return np.arange(given.start, given.stop, given.step) if isinstance(given, range) else list(given)


def _sizes(values: Any, dimension: Dimension) -> np.ndarray:
    """Many sizes at once."""
    if not isinstance(values, np.ndarray):
        return np.array([dimension.read(value) for value in values], dtype=np.int64)
    dimension.read(values.min())
    dimension.read(values.max())
    return values.astype(np.int64)
