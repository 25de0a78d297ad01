"""From the entries of device files to a `Device`: units, what is required, and where each value comes from."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from modelmeter.core.errors import ModelMeterError
from modelmeter.hardware.device import DTYPES, KINDS, Device, Link
from modelmeter.hardware.device_file import PEAKS, TEXTS, Entry
from modelmeter.hardware.quantities import (
    BANDWIDTH,
    BYTES,
    FLOP_RATE,
    OP_RATE,
    POWER,
    SECONDS,
    Quantity,
    parse_quantity,
)

_REQUIRED = {"title": '"NVIDIA H200 SXM 141 GB"', "memory": '"141 GB"', "bandwidth": '"4.8 TB/s"'}


def make_device(name: str, entries: Mapping[str, Entry], origin: str) -> Device:
    """The device of these entries. Raises `ModelMeterError` naming file, device, field and what was expected."""
    for field, example in _REQUIRED.items():
        if field not in entries:
            raise ModelMeterError(f"{origin}: [{name}] {field} is missing: add {field} = {example}")
    tensor, vector = (_peaks(units, entries) for units in PEAKS)
    if not (tensor or vector):
        raise ModelMeterError(f'{origin}: [{name}] tensor is missing: add tensor = {{ bf16 = "989.4 TFLOP/s" }}')
    numbers = {_ATTRIBUTES.get(key, key): entry for key, entry in entries.items() if key not in _UNSOURCED}
    return Device(
        name=name,
        tensor=tensor,
        vector=vector,
        **{_ATTRIBUTES.get(key, key): read(entries[key]) for key, read in _READERS.items() if key in entries},
        sources={field: entry.source for field, entry in numbers.items()},
        verified=frozenset(field for field, entry in numbers.items() if entry.verified),
    )


def _peaks(units: str, entries: Mapping[str, Entry]) -> dict[str, float]:
    found = {dtype: entries[f"{units}.{dtype}"] for dtype in DTYPES if f"{units}.{dtype}" in entries}
    return {dtype: _number(OP_RATE if dtype == "int8" else FLOP_RATE, entry) for dtype, entry in found.items()}


def _number(quantity: Quantity, entry: Entry) -> float:
    return parse_quantity(entry.value, quantity, entry.place)


def _bytes(entry: Entry) -> int:
    return round(_number(BYTES, entry))


def _count(entry: Entry) -> int:
    value = entry.value
    if type(value) is not int or value < 1:  # a bool is an int too
        raise ModelMeterError(f"{entry.place}: {value!r} is no whole number greater than zero: write it like 132")
    return value


def _text(entry: Entry) -> str:
    value = entry.value
    if not isinstance(value, str) or not value.strip():
        raise ModelMeterError(f"{entry.place}: {value!r} is no text: write it in quotes")
    return value


def _kind(entry: Entry) -> str:
    if entry.value not in KINDS:
        raise ModelMeterError(f"{entry.place}: unknown kind {entry.value!r}: use one of {', '.join(KINDS)}")
    return _text(entry)


def _link(entry: Entry) -> Link:
    value = entry.value
    if not isinstance(value, dict) or set(value) != {"name", "bandwidth"}:
        example = '{ name = "NVLink 4", bandwidth = "900 GB/s" }'
        raise ModelMeterError(f"{entry.place}: {value!r} is no link: write it like {example}")
    name = value["name"]
    if not isinstance(name, str):
        raise ModelMeterError(f"{entry.place}.name: {name!r} is no text: write it in quotes")
    return Link(name=name, bandwidth=parse_quantity(value["bandwidth"], BANDWIDTH, f"{entry.place}.bandwidth"))


def _table(entry: Entry) -> dict[str, Any]:
    if not isinstance(entry.value, dict):
        raise ModelMeterError(f"{entry.place}: {entry.value!r} is no table")
    return entry.value


_ATTRIBUTES = {"memory": "memory_bytes", "l2": "l2_bytes", "power": "power_watts", "launch": "launch_seconds"}
"""The names in `Device` of fields that a file, where they carry their unit, calls otherwise."""
_UNSOURCED = {*TEXTS, "calibration"}
_READERS: dict[str, Callable[[Entry], Any]] = {
    **dict.fromkeys(TEXTS, _text),
    "kind": _kind,
    "memory": _bytes,
    "bandwidth": partial(_number, BANDWIDTH),
    "l2": _bytes,
    "l2_bandwidth": partial(_number, BANDWIDTH),
    "multiprocessors": _count,
    "link": _link,
    "power": partial(_number, POWER),
    "launch": partial(_number, SECONDS),
    "calibration": _table,
}
