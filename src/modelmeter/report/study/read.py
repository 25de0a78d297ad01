"""A study read back from its sweep.json: the same labelled arrays, number by number."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from modelmeter.core.errors import ModelMeterError
from modelmeter.report.study.data import SCHEMA
from modelmeter.report.study.points import ATTENTION, COST_KEYS, MACHINE
from modelmeter.sweeps.quantities import VIEW_QUANTITIES
from modelmeter.sweeps.study import Study

if TYPE_CHECKING:
    import xarray as xr

FILE: Final = "sweep.json"


def read_study(path: str | Path) -> Study:
    """The study in a folder that `write_study` made, or in its sweep.json.

    Raises `ModelMeterError` where there is none, or one of another version of the schema.
    """
    place = Path(path)
    file = place / FILE if place.is_dir() else place
    data = read_data(file)
    try:
        datasets = {stage: _dataset(stage, about, data) for stage, about in data["stages"].items()}
        return Study(
            name=data["study"],
            description=data["description"],
            datasets=datasets,
            warnings=tuple(data["warnings"]),
        )
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise ModelMeterError(
            f"{file} is no whole {SCHEMA} ({type(error).__name__}: {error}): make it anew with modelmeter sweep"
        ) from error


def read_data(file: str | Path, schema: str = SCHEMA) -> dict[str, Any]:
    """The data of a JSON file of that schema. Raises `ModelMeterError` naming what it is instead."""
    try:
        data: Any = json.loads(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelMeterError(f"cannot read {file}: {error.strerror}: name a folder of `modelmeter sweep`") from error
    except ValueError as error:
        raise ModelMeterError(f"{file} is no JSON ({error}): name a file that modelmeter wrote") from error
    found = data.get("schema") if isinstance(data, dict) else None
    if found != schema:
        raise ModelMeterError(f"{file} {_other(found, schema)}")
    return dict(data)


def _other(found: Any, schema: str) -> str:
    kind, version = schema.rsplit("/", 1)
    match = re.fullmatch(rf"{re.escape(kind)}/(\d+)", str(found))
    if match is None:
        named = f"is of the schema {found!r}" if isinstance(found, str) else "names no schema"
        return f"{named}, not {schema}: name another file"
    if int(match[1]) < int(version):
        return f"is of the old schema {found}, this program reads {schema}: make it anew with modelmeter sweep"
    return f"is of the newer schema {found}, this program reads {schema}: update modelmeter"


def _dataset(stage: str, about: dict[str, Any], data: dict[str, Any]) -> "xr.Dataset":
    import xarray as xr

    sizes = {name: len(one["values"]) for name, one in data["dimensions"].items()}
    coordinates = {}
    for name, one in about["coordinates"].items():
        attributes = {key: value for key, value in one.items() if key not in ("dimensions", "value", "values")}
        if "value" in one or "values" in one:
            values = np.array(one["values"] if "values" in one else one["value"])
        else:
            values = _of_points([point[name] for point in data["points"]], one["dimensions"], sizes)
        coordinates[name] = (one["dimensions"], values, attributes)
    variables = {}
    for name, one in about["quantities"].items():
        values = _variable(stage, name, one["dimensions"], about, data, sizes)
        variables[name] = (one["dimensions"], values, {k: v for k, v in one.items() if k != "dimensions"})
    return xr.Dataset(variables, coordinates, about["attributes"])


def _variable(
    stage: str, name: str, dims: list[str], about: dict[str, Any], data: dict[str, Any], sizes: dict[str, int]
) -> np.ndarray:
    """The numbers of a quantity along its dimensions, from the costs of all points."""
    points = data["points"]
    if name in VIEW_QUANTITIES:
        return _of_points([point[_POINT_NAMES.get(name, name)] for point in points], dims, sizes)
    place, names = COST_KEYS[stage]
    kinds = [names[kind] for kind in about["coordinates"].get(ATTENTION, {}).get("values", ())]
    costs = [[point[place][kind] for kind in (kinds or point[place])] for point in points]
    if name in costs[0][0]:
        inner = {ATTENTION: len(costs[0])}
        values = [[cost[name] for cost in row] for row in costs]
        return _of_points(values, dims, sizes, inner)
    lengths = [len(np.atleast_1d(_labels(about, machine))) for machine in MACHINE]
    inner = {ATTENTION: len(costs[0]), **dict(zip(MACHINE, lengths, strict=True))}
    return _of_points([[[t[name] for t in cost["times"]] for cost in row] for row in costs], dims, sizes, inner)


_POINT_NAMES: Final = {"image_tokens": "image_tokens_total"}


def _labels(about: dict[str, Any], name: str) -> Any:
    one = about["coordinates"].get(name, {"value": None})
    return one.get("values", one.get("value"))


def _of_points(
    values: list[Any], dims: list[str], sizes: dict[str, int], inner: dict[str, int] | None = None
) -> np.ndarray:
    """[points, ...] -> `dims`: along the others all values are the same, and the first is taken."""
    lengths = {**sizes, **(inner or {})}
    array = np.array(values).reshape(list(lengths.values()))
    kept = [name for name in lengths if name in dims]
    array = array[tuple(slice(None) if name in dims else 0 for name in lengths)]
    return array.transpose([kept.index(name) for name in dims])
