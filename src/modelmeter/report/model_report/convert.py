"""A report as JSON or YAML text, and back (cattrs). What follows from it stands in the files too; reading drops it."""

import json
import re
from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from modelmeter._version import __version__
from modelmeter.core.cost import COST_FIELDS, STAGE_FIELDS, Cost, StageCost
from modelmeter.core.errors import ModelMeterError
from modelmeter.core.precision import Precision
from modelmeter.hardware.page_time import Levels
from modelmeter.hardware.timeline import RESOURCES, Span
from modelmeter.models.deepseek_ocr.config import Conventions
from modelmeter.nn.moe import Coverage
from modelmeter.report.conventions import convention_notes
from modelmeter.report.export import stage_numbers
from modelmeter.report.model_report.data import (
    SCHEMA,
    AnalyticModelReport,
    ModelSpecification,
    OCRWorkloadProfile,
    OperatorCategory,
    StageTiming,
    TimeMetrics,
)
from modelmeter.sweeps.shape_files import NO_VALUES

if TYPE_CHECKING:
    from cattrs import Converter

Made = TypeVar("Made")
SPAN: Final = ("seconds", "tensor", "vector", "memory")
"""The fields of a `Span`."""
SUMS: Final = ("flops", "weight_bytes", "activation_bytes", "kv_bytes", "io_bytes")
"""What the files say beside the fields of a `Cost`."""
RESIDENT: Final = {
    "weights_resident_bytes": "weights_bytes",
    "activation_peak_bytes": "activations_bytes",
    "kv_cache_bytes": "kv_cache_bytes",
}
"""How the files name the bytes of a `StageCost`, as the other reports do."""
DERIVED: Final[dict[type, dict[str, Callable[[Any], Any]]]] = {
    Conventions: {"notes": convention_notes},
    Precision: {"description": Precision.describe},
    ModelSpecification: {"name": lambda model: model.name},
    OCRWorkloadProfile: {"mode": lambda profile: profile.mode, "decode_steps": lambda profile: profile.decode_steps},
    TimeMetrics: {"ratio": lambda time: time.ratio},
    StageTiming: {"ratio": lambda time: time.ratio},
    Levels: {"predicted": lambda levels: levels.predicted},
}
"""What the files say beside the fields of a class."""


_SURROGATE: Final = re.compile("[\\ud800-\\udfff]|" r"\\u[dD][c-fC-F]")
"""A byte of a file's name that is no text, as it is or escaped: libyaml (ten times quicker) takes none."""


def to_data(report: AnalyticModelReport) -> dict[str, Any]:
    """The report as dicts, lists, strings and numbers; integers are exact."""
    return unstructure(report)


def to_json(report: AnalyticModelReport) -> str:
    """The report as JSON text."""
    return json.dumps(to_data(report), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_yaml(report: AnalyticModelReport) -> str:
    """The report as YAML text."""
    import yaml

    data = to_data(report)
    quick = yaml.__with_libyaml__ and not _SURROGATE.search(json.dumps(data, ensure_ascii=False))
    base: Any = yaml.CSafeDumper if quick else yaml.SafeDumper
    dumper = type("Dumper", (base,), {"ignore_aliases": lambda *_: True})  # equal things are written out
    text: str = yaml.dump(data, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


def from_data(data: Any) -> AnalyticModelReport:
    """The report of `to_data`. Raises `ModelMeterError` naming what is wrong, or which version it is."""
    _check_schema(data)
    return structure(AnalyticModelReport, data)


def from_json(text: str) -> AnalyticModelReport:
    """The report of a JSON text."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ModelMeterError(f"report: this is no JSON: {error}") from error
    return from_data(data)


def from_yaml(text: str) -> AnalyticModelReport:
    """The report of a YAML text."""
    import yaml

    loader: Any = yaml.CSafeLoader if yaml.__with_libyaml__ and not _SURROGATE.search(text) else yaml.SafeLoader
    try:
        data = yaml.load(text, Loader=loader)  # both are safe loaders
    except (yaml.YAMLError, *NO_VALUES) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ModelMeterError(f"report: this is no YAML: {reason}") from error
    return from_data(data)


def _check_schema(data: Any) -> None:
    found = data.get("schema") if isinstance(data, dict) else None
    if found == SCHEMA:
        return
    if not isinstance(found, str) or not found.startswith(SCHEMA.partition("/")[0]):
        what = "no schema" if found is None else f"schema {found!r}"
        raise ModelMeterError(f"report: {what} where {SCHEMA} should be: this is no report of `modelmeter report`")
    raise ModelMeterError(
        f"report: schema {found} is not read by modelmeter {__version__}, which reads {SCHEMA}: "
        "write the report again, or read it with the program that wrote it"
    )


def unstructure(value: Any) -> dict[str, Any]:
    """An instance of one of our attrs classes as dicts, lists, strings and numbers."""
    data: dict[str, Any] = _converter().unstructure(value)
    return data


def structure(kind: type[Made], data: Any, what: str = "report") -> Made:
    """The instance of `kind` that `unstructure` gave. Raises `ModelMeterError` naming the place in `what`."""
    from cattrs import ClassValidationError, transform_error

    try:
        return _converter().structure(data, kind)
    except ClassValidationError as error:
        problems = transform_error(error, path=what, format_exception=_reason)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ModelMeterError(
            f"{what}: {problems[0].removeprefix(f'{what}: ')}{more}"
        ) from None  # its tree of causes fills pages


def _reason(error: BaseException, kind: type | None) -> str:
    """Why a value cannot be: our own words where there are any."""
    from cattrs.v import format_exception

    return str(error) if type(error) in (ModelMeterError, ValueError) else format_exception(error, kind)


@cache
def _converter() -> "Converter":
    from cattrs import Converter
    from cattrs.strategies import configure_union_passthrough

    converter = Converter(forbid_extra_keys=True, unstruct_collection_overrides={tuple: list})
    converter.register_unstructure_hook(OperatorCategory, lambda category: category.value)
    configure_union_passthrough(str | bool | int | float | None, converter)
    for plain in (int, float, str, bool):
        converter.register_structure_hook(plain, _plain)
    converter.register_structure_hook(OperatorCategory, lambda value, _: OperatorCategory(value))
    converter.register_structure_hook(Coverage, lambda value, _: value)  # Conventions.check() knows which can be
    converter.register_unstructure_hook_factory(DERIVED.__contains__, partial(_giver, converter))
    converter.register_structure_hook_factory(DERIVED.__contains__, partial(_taker, converter))
    converter.register_unstructure_hook(Cost, _cost_data)
    converter.register_structure_hook(Cost, lambda data, _: _cost(_known(data, _COST_KEYS, Cost)))
    converter.register_unstructure_hook(StageCost, _stage_data)
    converter.register_structure_hook(StageCost, lambda data, _: _stage(_known(data, _STAGE_KEYS, StageCost)))
    converter.register_unstructure_hook(Span, _span_data)
    converter.register_structure_hook(Span, lambda data, _: _span(_known(data, _SPAN_KEYS, Span)))
    return converter


def _plain(value: Any, kind: type) -> Any:
    """A number, text or truth value as it is: nothing is read as something else, but an int where a float may be."""
    if type(value) is kind:
        return value
    if kind is float and type(value) is int:
        return float(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")


def _giver(converter: "Converter", kind: Any) -> Callable[[Any], dict[str, Any]]:
    """Writes the fields of a class, and what follows from them."""
    from cattrs.gen import make_dict_unstructure_fn

    give: Callable[[Any], dict[str, Any]] = make_dict_unstructure_fn(kind, converter)

    def unstructure(value: Any) -> dict[str, Any]:
        return {**give(value), **{name: of(value) for name, of in DERIVED[kind].items()}}

    return unstructure


def _taker(converter: "Converter", kind: Any) -> Callable[[Any, Any], Any]:
    """Reads the fields of a class, and leaves what follows from them."""
    from cattrs.gen import make_dict_structure_fn

    take: Callable[[Any, Any], Any] = make_dict_structure_fn(kind, converter, _cattrs_forbid_extra_keys=True)

    def structure(data: Any, _: Any) -> Any:
        return take({name: value for name, value in dict(data).items() if name not in DERIVED[kind]}, kind)

    return structure


_COST_KEYS: Final = {*COST_FIELDS, *SUMS}
_STAGE_KEYS: Final = {*_COST_KEYS, *RESIDENT, *STAGE_FIELDS}
_SPAN_KEYS: Final = {*SPAN, *RESOURCES, "binds"}


def _known(data: Any, keys: set[str], kind: type) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise ValueError(f"{data!r} is no {kind.__name__}")
    if unknown := set(data) - keys:
        raise ValueError(f"{kind.__name__} has no {', '.join(sorted(map(str, unknown)))}")
    return data


def _cost_data(cost: Cost) -> dict[str, int]:
    return {**attrs.asdict(cost), **{name: getattr(cost, name) for name in SUMS}}


def _cost(data: dict[str, Any]) -> Cost:
    return Cost(**{name: _plain(data[name], int) for name in COST_FIELDS})


def _stage_data(stage: StageCost) -> dict[str, Any]:
    return {**_cost_data(stage.cost), **stage_numbers(stage)}


def _stage(data: dict[str, Any]) -> StageCost:
    return StageCost(cost=_cost(data), **{field: _plain(data[name], int) for name, field in RESIDENT.items()})


def _span_data(span: Span) -> dict[str, Any]:
    return {**{name: float(getattr(span, name)) for name in (*SPAN, "launch")}, "binds": span.binds}


def _span(data: dict[str, Any]) -> Span:
    return Span(**{name: _plain(data[name], float) for name in SPAN})
