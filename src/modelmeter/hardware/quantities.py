"""Numbers with units, as a device file writes them: "4.8 TB/s" -> 4.8e12."""

import math
import re
from collections.abc import Mapping

import attrs

from modelmeter.core.errors import ModelMeterError

_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|[+-]?(?:nan|inf))\s*(\S*)\s*")
_DECIMAL = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


@attrs.frozen(kw_only=True)
class Quantity:
    """A kind of quantity: what it is called, a well-written example, and its units in SI base units."""

    name: str
    example: str
    units: Mapping[str, float]


def _prefixed(unit: str, prefixes: Mapping[str, float]) -> dict[str, float]:
    return {prefix + unit: factor for prefix, factor in prefixes.items()}


FLOP_RATE = Quantity(name="FLOPs a second", example="989.4 TFLOP/s", units=_prefixed("FLOP/s", _DECIMAL))
OP_RATE = Quantity(name="integer operations a second", example="1979 TOP/s", units=_prefixed("OP/s", _DECIMAL))
BYTES = Quantity(name="bytes", example="80 GB", units=_prefixed("B", {**_DECIMAL, **_BINARY}))
BANDWIDTH = Quantity(name="bytes a second", example="4.8 TB/s", units=_prefixed("B/s", {**_DECIMAL, **_BINARY}))
POWER = Quantity(name="watts", example="700 W", units={"W": 1.0, "kW": 1e3})
SECONDS = Quantity(name="seconds", example="4 us", units={"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9})


def parse_quantity(value: object, quantity: Quantity, place: str) -> float:
    """A text like "4.8 TB/s" in base units. `place` (file, device, field) begins the message of an error."""
    wanted = f'write {quantity.name} like "{quantity.example}"'
    if not isinstance(value, str):
        raise ModelMeterError(f"{place}: {value!r} has no unit: {wanted}")
    match = _NUMBER_AND_UNIT.fullmatch(value)
    if match is None:
        raise ModelMeterError(f"{place}: {value!r} is not a number and a unit: {wanted}")
    number, unit = match.groups()
    if unit not in quantity.units:
        wrong = f"the unit {unit!r} of {value!r} is not of {quantity.name}" if unit else f"{value!r} has no unit"
        raise ModelMeterError(f"{place}: {wrong}: use {_units(quantity)}, as in {quantity.example!r}")
    result = float(number) * quantity.units[unit]
    if not (math.isfinite(result) and result > 0):
        raise ModelMeterError(f"{place}: {value!r} is not greater than zero: {wanted}, or leave it out if unknown")
    return result


def _units(quantity: Quantity) -> str:
    *others, last = quantity.units
    return f"{', '.join(others)} or {last}"
