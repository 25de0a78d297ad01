"""Values of a dimension as text: 1,2,4 and 256:4096:256, which has its end."""

import re
from collections.abc import Iterable
from typing import Any

from modelmeter.core.errors import ModelMeterError

_RANGE = re.compile(r"(\d{1,18}):(\d{1,18})(?::(\d{1,18}))?", re.ASCII)
_WORDS = {"true": True, "false": False}
_MOST = 1_000_000
"""Values of a range: no study is of more, and a memory has an end."""


def values_of(name: str, texts: Iterable[str]) -> list[Any]:
    """The values in texts such as "1,2,4" or "256:4096:256". Raises `ModelMeterError` naming `name`."""
    found: list[Any] = []
    for text in texts:
        for part in text.split(","):
            found += _range(name, part) if ":" in part else [_value(name, part.strip())]
    return found


def whole_numbers(name: str, texts: Iterable[str]) -> list[int]:
    """The same of whole numbers."""
    values = values_of(name, texts)
    for value in values:
        if type(value) is not int:
            raise ModelMeterError(f"{name}: {value!r} is no whole number: give such as 1,2,4 or 256:4096:256")
    return values


def over_of(texts: Iterable[str]) -> dict[str, Any]:
    """ "NAME=VALUES" each, as `sweep` takes them: one value alone is no dimension."""
    over: dict[str, Any] = {}
    for text in texts:
        name, equals, values = text.partition("=")
        if not equals or not name:
            raise ModelMeterError(f"--over {text!r}: give NAME=VALUES, such as batch_size=1,2,4")
        if name in over:
            raise ModelMeterError(f"--over {name} is given twice: give all its values at once")
        found = values_of(f"--over {name}", [values])
        over[name] = found[0] if len(found) == 1 else found
    return over


def _range(name: str, text: str) -> range:
    match = _RANGE.fullmatch(text.strip())
    first, last, step = (int(part or 1) for part in match.groups()) if match else (0, 0, 0)
    if match is None or step == 0 or last < first:
        raise ModelMeterError(f"{name}: {text!r} is no range: give FIRST:LAST or FIRST:LAST:STEP")
    values = range(first, last + 1, step)
    if len(values) > _MOST:
        raise ModelMeterError(f"{name}: {text!r} has {len(values):,} values, at most {_MOST:,}: give a longer STEP")
    return values


def _value(name: str, text: str) -> Any:
    if not text:
        raise ModelMeterError(f"{name}: a value is missing: give such as 1,2,4")
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
