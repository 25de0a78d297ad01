"""What a configuration file gives, found by the tables of `hf_keys` and checked, under the names of our fields."""

import difflib
import json
import re
from collections.abc import Iterable
from types import UnionType
from typing import Any, Final, Literal, TypeVar, get_args, get_origin

import attrs

from modelmeter.core.errors import ModelMeterError
from modelmeter.models.deepseek_ocr.config import (
    ClipConfig,
    DecoderConfig,
    DeepseekOCRConfig,
    ProjectorConfig,
    SamConfig,
)
from modelmeter.models.deepseek_ocr.hf_keys import (
    COUNTS_LAYERS,
    EVERYWHERE,
    MAY_BE_ZERO,
    NULLABLE,
    Block,
    DecoderRules,
    Form,
)

MAX_LAYERS: Final = 10_000
MAX_SIZE: Final = 2**31 - 1
PARTS: Final[dict[str, type[Any]]] = {
    "config": DeepseekOCRConfig,
    "sam": SamConfig,
    "clip": ClipConfig,
    "projector": ProjectorConfig,
    "decoder": DecoderConfig,
    "rules": DecoderRules,
}
T = TypeVar("T")


@attrs.frozen
class Given:
    """What a file gives: field of ours ("decoder.hidden_size") -> (its dotted path there, value)."""

    form: Form
    entries: dict[str, tuple[str, Any]]

    def __contains__(self, field: str) -> bool:
        return field in self.entries

    def __getitem__(self, field: str) -> Any:
        """The value given, else the form's default, else the released one."""
        if field in self.entries:
            return self.entries[field][1]
        part, name = field.split(".")
        return self.form.defaults[field] if field in self.form.defaults else getattr(PARTS[part](), name)

    def where(self, field: str) -> str:
        """The dotted path at which the file says it, or would."""
        if field in self.entries:
            return self.entries[field][0]
        return next(block.at(key) for block in self.form.blocks for key, to in block.fields.items() if to == field)

    def at(self, field: str) -> str:
        """The dotted path and the value, for a message."""
        return f"{self.where(field)} {shown(self[field])}{'' if field in self else ' (by default)'}"

    def part(self, name: str) -> dict[str, Any]:
        """All fields of a part."""
        return {field.name: self[f"{name}.{field.name}"] for field in attrs.fields(PARTS[name])}

    def build_part(self, name: str, config: type[T], **changes: Any) -> T:
        """A part of the configuration, with `changes` to what is given."""
        values = self.part(name) | changes
        return self.build(config, values, [f"{name}.{field}" for field in values])

    def build(self, config: type[T], values: dict[str, Any], fields: Iterable[str]) -> T:
        """A configuration of ours. What it refuses, it names by our `fields`: add where the file says them."""
        try:
            return config(**values)
        except ModelMeterError as error:
            named = [self.at(field) for field in fields if re.search(rf"\b{field.split('.')[1]}\b", str(error))]
            raise ModelMeterError(f"{error} (from {', '.join(named)})" if named else f"{error}") from None


def collect(raw: dict[str, Any], form: Form) -> Given:
    """All values that set a field of ours, checked. Raises on what is unknown, not modelled or contradictory."""
    entries: dict[str, tuple[str, Any]] = {}
    for block in form.blocks:
        given = _object(raw, block.path)
        inner = {child.path.rpartition(".")[2] for child in form.blocks if _is_inside(child, block)}
        known = {**EVERYWHERE.fixed, **block.fixed}
        for key, only in known.items():  # first of all: they say which model this is
            if key in given and given[key] not in only.values:
                wanted = " or ".join(shown(value) for value in only.values)
                raise ModelMeterError(f"{block.at(key)} {shown(given[key])} is not {wanted}: {only.why}")
        for key, value in given.items():
            if key in block.fields:
                field, path = block.fields[key], block.at(key)
                entry = path, _value(path, value, field)
                first = entries.setdefault(field, entry)
                if first[1] != entry[1]:
                    raise ModelMeterError(
                        f"{path} {shown(value)} contradicts {first[0]} {shown(first[1])}: make them equal"
                    )
            elif key not in known and key not in inner and key not in block.harmless | EVERYWHERE.harmless:
                raise _unknown(block, key, {*block.fields, *known, *inner})
    return Given(form, entries)


def _object(raw: dict[str, Any], path: str) -> dict[Any, Any]:
    """The object at a dotted path; where it is absent or null, an empty one."""
    here: Any = raw
    keys = path.split(".") if path else []
    for depth, key in enumerate(keys, start=1):
        here = {} if here.get(key) is None else here[key]
        if not isinstance(here, dict):
            raise ModelMeterError(f"{'.'.join(keys[:depth])} must be an object {{...}}, not {shown(here)}")
    return dict(here)


def _is_inside(child: Block, block: Block) -> bool:
    """Whether `child` is an object directly in `block`."""
    return child.path != "" and child.path.rpartition(".")[0] == block.path


def _unknown(block: Block, key: Any, known: Iterable[str]) -> ModelMeterError:
    near = difflib.get_close_matches(str(key), known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "remove it if it does not change the network"
    return ModelMeterError(f"{block.at(key)} is unknown and may change the cost: {remedy}")


def _value(path: str, value: Any, field: str) -> Any:
    """The value as our field has it, lists as tuples. Raises where its type is another."""
    part, name = field.split(".")
    kind = attrs.fields_dict(PARTS[part])[name].type
    optional = get_origin(kind) is UnionType
    if value is None and (optional or field in NULLABLE):
        return NULLABLE.get(field)
    return _typed(path, value, get_args(kind)[0] if optional else kind, field)


def _typed(path: str, value: Any, kind: Any, field: str) -> Any:
    if get_origin(kind) is tuple:
        item, *more = get_args(kind)
        length = None if more == [...] else 1 + len(more)
        if isinstance(value, list | tuple) and length in (None, len(value)):
            return tuple(_typed(f"{path}[{i}]", one, item, field) for i, one in enumerate(value))
        wanted = f"a list of {length}" if length else "a list"
    elif get_origin(kind) is Literal:
        if isinstance(value, str) and value in get_args(kind):
            return value
        wanted = " or ".join(shown(choice) for choice in get_args(kind))
    elif kind is int:
        least, most = int(field not in MAY_BE_ZERO), MAX_LAYERS if field in COUNTS_LAYERS else MAX_SIZE
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            return value
        too_large = isinstance(value, int) and value > most
        wanted = f"a whole number, {'at most' if too_large else 'at least'} {most if too_large else least}"
    else:
        if isinstance(value, kind):
            return value
        wanted = "true or false" if kind is bool else "a text"
    raise ModelMeterError(f"{path} must be {wanted}, not {shown(value)}")


def shown(value: Any) -> str:
    """A value as JSON writes it, on one short line."""
    try:
        text = json.dumps(value, default=str)
    except (TypeError, ValueError, RecursionError):  # no JSON: keys that are tuples, a dict within itself
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
