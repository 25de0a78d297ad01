"""Write the JSON Schema of `modelmeter report` from the classes behind it: `python tools/make_report_schema.py`."""

import inspect
import json
import sys
import types
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import attrs

from modelmeter.core.cost import STAGE_FIELDS, Cost, StageCost
from modelmeter.hardware.timeline import RESOURCES, Span
from modelmeter.nn.moe import COVERAGES
from modelmeter.report.model_report import convert
from modelmeter.report.model_report.data import SCHEMA, AnalyticModelReport

FILE = Path(__file__).parents[1] / "src/modelmeter/report/schemas/report-1.schema.json"
COUNT = {"type": "integer", "minimum": 0}
AMOUNT = {"type": "number", "minimum": 0}
NAMED = {
    "notes": {"type": "array", "items": {"type": "string"}},
    "mode": {"type": "string"},
    "decode_steps": COUNT,
    "ratio": {"type": ["number", "null"], "minimum": 0},
    "predicted": AMOUNT,
    "name": {"type": "string"},
    "description": {"type": "string"},
}
"""What stands beside the fields of a class."""


def main() -> None:
    """Write the file."""
    FILE.write_text(schema_text(), encoding="utf-8")
    print(f"wrote {FILE}", file=sys.stderr)


def schema_text() -> str:
    """The schema as the file has it."""
    defs: dict[str, Any] = {}
    reference_to(AnalyticModelReport, defs)
    whole = defs.pop("AnalyticModelReport")
    whole["properties"]["schema"] = {"const": SCHEMA}
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:modelmeter:report:1",
        "title": SCHEMA,
    }
    return json.dumps({**head, **whole, "$defs": dict(sorted(defs.items()))}, indent=2) + "\n"


def reference_to(kind: type, defs: dict[str, Any]) -> dict[str, Any]:
    """A reference to the definition of a class, which is made."""
    if kind.__name__ not in defs:
        defs[kind.__name__] = {}
        defs[kind.__name__] = definition(kind, defs)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def definition(kind: type, defs: dict[str, Any]) -> dict[str, Any]:
    """The object that a class is in the files: all its fields and what stands beside them."""
    exact = {name: COUNT for name in (*[field.name for field in attrs.fields(Cost)], *convert.SUMS)}
    properties: dict[str, Any]
    if kind is Cost:
        properties = exact
    elif kind is StageCost:
        properties = {**exact, **dict.fromkeys(convert.RESIDENT, COUNT), **dict.fromkeys(STAGE_FIELDS, AMOUNT)}
    elif kind is Span:
        properties = {**dict.fromkeys((*convert.SPAN, "launch"), AMOUNT), "binds": {"enum": list(RESOURCES)}}
    else:
        fields = attrs.fields(attrs.resolve_types(kind))
        properties = {field.name: field_schema(field, defs) for field in fields}
        properties |= {name: NAMED[name] for name in convert.DERIVED.get(kind, {})}
    return {
        "type": "object",
        "description": " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split()),
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def field_schema(field: "attrs.Attribute[Any]", defs: dict[str, Any]) -> dict[str, Any]:
    """What a field may hold."""
    if field.name == "coverage":
        return {"anyOf": [{"enum": list(COVERAGES)}, AMOUNT]}
    return schema_of(field.type, defs)


def schema_of(kind: Any, defs: dict[str, Any]) -> dict[str, Any]:
    """What a value of a type may be."""
    plain: dict[Any, dict[str, Any]] = {int: COUNT, float: AMOUNT, str: {"type": "string"}, bool: {"type": "boolean"}}
    if kind in plain:
        return plain[kind]
    if attrs.has(kind):
        return reference_to(kind, defs)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {"enum": [member.value for member in kind]}
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"enum": list(parts)}
    if origin is tuple:
        if parts[-1] is Ellipsis:
            return {"type": "array", "items": schema_of(parts[0], defs)}
        items = [schema_of(part, defs) for part in parts]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    if origin is dict:
        names = {} if parts[0] is str else {"propertyNames": schema_of(parts[0], defs)}
        return {"type": "object", **names, "additionalProperties": schema_of(parts[1], defs)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [{"type": "null"} if part is type(None) else schema_of(part, defs) for part in parts]}
    raise TypeError(f"no schema for {kind}")


if __name__ == "__main__":
    main()
