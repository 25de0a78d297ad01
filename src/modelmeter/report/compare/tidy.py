"""A result as tidy rows: what each row is of, and its values by name."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.compare.layouts import HEADER, HELD, PROSE, Layout

Leaf: TypeAlias = int | float | bool | str | None
Key: TypeAlias = tuple[tuple[str, str | int | float], ...]
"""What a row is of, from the outside in: (("source", "a.pdf"), ("page", 1), ("stage", "decode"))."""
_Found: TypeAlias = Iterator[tuple[Key, str, Leaf]]
_TAGS = ("schema", "modelmeter_version", "analytic_model_version")


@attrs.frozen(kw_only=True)
class Tidy:
    """One result: its rows, and the settings (dotted names) under which it was found."""

    name: str
    schema: str
    title: str
    analytic_model_version: str
    settings: Mapping[str, Leaf]
    rows: Mapping[Key, Mapping[str, Leaf]]


def tidy(name: str, data: Mapping[str, Any], layout: Layout) -> Tidy:
    """The rows of a result. Raises `ModelMeterError` naming the place that is not as its schema says."""
    settings, found = _split(name, data, layout)
    rows: dict[Key, dict[str, Leaf]] = {}
    for key, quantity, value in found:
        rows.setdefault(key, {}).setdefault(quantity, value)
    return Tidy(
        name=name,
        schema=str(data["schema"]),
        title=layout.title,
        analytic_model_version=str(data["analytic_model_version"]),
        settings=settings,
        rows=rows,
    )


def _split(name: str, data: Mapping[str, Any], layout: Layout) -> tuple[dict[str, Leaf], list[tuple[Key, str, Leaf]]]:
    """(settings, values), those of the results inside this one (an analysis has times) after its own."""
    headers = {*HEADER, *layout.settings}
    left_out = {*headers, *_TAGS, *layout.sections}
    walk = _Walk(name=name, layout=layout)
    settings: dict[str, Leaf] = {}
    found: list[tuple[Key, str, Leaf]] = []
    for part in (data, *[data[section] for section in layout.sections if section in data]):
        if not isinstance(part, dict):
            raise ModelMeterError(f"{name}: a result in it is no object: write the file anew")
        own = {field: value for field, value in part.items() if field in headers}
        settings = {**dict(_settings(own, "")), **settings}
        found += walk.fields({field: value for field, value in part.items() if field not in left_out}, (), "")
    return settings, found


def _settings(value: Any, prefix: str) -> Iterator[tuple[str, Leaf]]:
    """Dotted names and values. A report has the precision in the model, and it is no other model for it."""
    for field, inner in value.items():
        if field in PROSE or prefix + field == HELD:
            continue
        if prefix + field == "model.precision":
            yield from _settings({"precision": inner}, "")
            continue
        if isinstance(inner, dict):
            yield from _settings(inner, f"{prefix}{field}.")
        else:
            yield prefix + field, _leaf(inner)


@attrs.frozen(kw_only=True)
class _Walk:
    """Goes through a result; `name` is for errors."""

    name: str
    layout: Layout

    def fields(self, data: Mapping[str, Any], key: Key, prefix: str) -> _Found:
        """The values of an object and of all in it."""
        layout = self.layout
        for field, value in data.items():
            if field in layout.repeats:
                continue
            if isinstance(value, dict) and field in layout.groups:
                for member, inner in value.items():
                    yield from self._member(inner, _joined(key, (layout.groups[field], member)), prefix, field)
            elif isinstance(value, dict):
                of = (layout.whole[field],) if field in layout.whole else ()
                yield from self.fields(value, _joined(key, *of), prefix if of else f"{prefix}{field}.")
            elif isinstance(value, list) and field in layout.lists:
                yield from self._list(value, key, prefix, field)
            else:
                yield key, prefix + field, _leaf(value)

    def _member(self, value: Any, key: Key, prefix: str, field: str) -> _Found:
        if isinstance(value, dict):
            yield from self.fields(value, key, prefix)
        else:
            yield key, prefix + field, _leaf(value)

    def _list(self, items: list[Any], key: Key, prefix: str, field: str) -> _Found:
        """Each object of a list by the fields that name it. What is there twice is numbered."""
        names = self.layout.lists[field]
        seen: Counter[Key] = Counter()
        for number, item in enumerate(items):
            if not isinstance(item, dict):
                raise ModelMeterError(f"{self.name}: {prefix}{field}[{number}] is no object: write the file anew")
            if not any(name in item for name in names):
                wanted = " or ".join(names)
                raise ModelMeterError(f"{self.name}: {prefix}{field}[{number}] has no {wanted}: write the file anew")
            own = _joined(key, *[pair for name in names if name in item for pair in self._naming(name, item[name])])
            seen[own] += 1
            if seen[own] > 1:
                own = _joined(own, ("repeat", seen[own]))
            rest = {inner: value for inner, value in item.items() if inner not in names}
            yield from self.fields(rest, own, prefix)

    def _naming(self, name: str, value: Any) -> Iterator[tuple[str, str | int | float]]:
        """What a field says that names an object. One that is an object itself says several, a precision its text."""
        if isinstance(value, dict) and "text" not in value:
            for inner, label in value.items():
                yield from self._naming(inner, label)
        else:
            text = value["text"] if isinstance(value, dict) else value
            plain = isinstance(text, str | int | float) and not isinstance(text, bool)
            yield self.layout.names.get(name, name), text if plain else _text_of(text)


def _joined(key: Key, *pairs: tuple[str, str | int | float]) -> Key:
    """The key with more names; one that it has already (the path of a module in a module) is replaced."""
    new = {name for name, _ in pairs}
    return (*[pair for pair in key if pair[0] not in new], *pairs)


def _leaf(value: Any) -> Leaf:
    return value if value is None or isinstance(value, bool | int | float | str) else _text_of(value)


def _text_of(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
