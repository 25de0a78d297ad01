"""Validators of the report's data: what is read back from a file is checked as what is built."""

import math
from typing import Any

import attrs

from modelmeter.core.cost import Cost, StageCost
from modelmeter.core.errors import ModelMeterError


def whole(least: int = 0) -> Any:
    """A validator: an int of at least `least`."""

    def check(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
        if type(value) is not int or value < least:
            raise ModelMeterError(f"report: {attribute.name} must be an int of at least {least}, not {value!r}")

    return check


def seconds(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """A validator: finite seconds of 0 or more, or None where there are none."""
    if value is not None and not (type(value) in (int, float) and 0 <= value < math.inf):
        raise ModelMeterError(f"report: {attribute.name} must be seconds of 0 or more, not {value!r}")


def exact(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """A validator: a `Cost` or `StageCost` of whole numbers of 0 or more."""
    numbers: list[Any] = [None]
    if isinstance(value, StageCost):
        held = (value.weights_bytes, value.activations_bytes, value.kv_cache_bytes)
        numbers = [*value.cost.values(), *held]
    elif isinstance(value, Cost):
        numbers = list(value.values())
    if any(type(number) is not int or number < 0 for number in numbers):
        raise ModelMeterError(f"report: {attribute.name} must be a cost of whole numbers, not {value!r}")


def text(instance: Any, attribute: "attrs.Attribute[Any]", value: Any) -> None:
    """A validator: a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ModelMeterError(f"report: {attribute.name} must be a text, not {value!r}")
