"""The published JSON Schemas, and data with one thing changed that a schema must see."""

import copy
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

Path = tuple[str | int, ...]


def validator_of(name: str) -> Draft202012Validator:
    """The schema in `name`.schema.json."""
    text = (files("modelmeter.report") / "schemas" / f"{name}.schema.json").read_text(encoding="utf-8")
    return Draft202012Validator(json.loads(text))


def check_schema(validator: Draft202012Validator) -> None:
    """The schema is one, and of the draft that it names."""
    Draft202012Validator.check_schema(validator.schema)
    assert validator.schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]


def places(value: Any, path: Path = (), seen: set[frozenset[str]] | None = None) -> Iterator[Path]:
    """Paths of the objects in the data, one of each kind (of each set of names)."""
    seen = set() if seen is None else seen
    if isinstance(value, dict):
        if frozenset(value) not in seen:
            seen.add(frozenset(value))
            yield path
        for name, item in value.items():
            yield from places(item, (*path, name), seen)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from places(item, (*path, number), seen)


def at(data: Any, path: Path) -> Any:
    """What stands at `path`."""
    for step in path:
        data = data[step]
    return data


def changed(data: Any, path: Path, change: Callable[[Any], object]) -> Any:
    """A copy of the data with the object at `path` changed."""
    data = copy.deepcopy(data)
    change(at(data, path))
    return data


def without(data: Any, path: Path, name: str) -> Any:
    """A copy in which the object at `path` lacks `name`."""
    return changed(data, path, lambda found: found.pop(name))


def with_more(data: Any, path: Path, /, **values: Any) -> Any:
    """A copy in which the object at `path` has these values."""
    return changed(data, path, lambda found: found.update(values))
